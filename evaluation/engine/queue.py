"""Which work item comes next, so that lanes stay full and nothing is attacked in vain. No torch."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.engine.stages import Stage


@dataclass(kw_only=True)
class _Image:
    survived: set[int] = field(default_factory=lambda: set[int]())
    """Places of stages that are done and left the image right."""
    next: int = 0
    """Place of the first stage that was never begun."""
    broken_at: int | None = None
    """Least place of a stage that broke it."""
    running: set[int] = field(default_factory=lambda: set[int]())


class Queue:
    """The items of one round that remain, in the order that wastes least.

    An image goes through the stages in order and leaves at the first that breaks it. Only when no
    such item is left does an idle lane begin a later stage of an image that is still in an earlier
    one. What broke an image is then still the first stage that does so: earlier ones run to their
    end, later ones are dropped.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        images: Iterable[int],
        *,
        known: Mapping[tuple[int, int], bool],
    ) -> None:
        """`known`: whether stage number s broke image i, by (i, s), for what is done already."""
        self._stages = list(stages)
        self._images = {image: _Image() for image in images}
        self._ready: list[tuple[int, int]] = []  # (place of the stage, image)
        for image, state in self._images.items():
            for place, stage in enumerate(self._stages):
                is_broken = known.get((image, stage.number))
                if is_broken is not None:
                    self._note(state, place, is_broken=is_broken)
            self._make_ready(image)

    def __len__(self) -> int:
        """Counts the items that remain if no further image breaks."""
        return sum(
            len(set(range(self._end(state))) - state.survived) for state in self._images.values()
        )

    def take(self, count: int) -> list[tuple[int, Stage]]:
        """Returns up to `count` items to begin, as (image, stage)."""
        taken: list[tuple[int, Stage]] = []
        while len(taken) < count:
            picked = self._pop_ready() or self._ahead()
            if picked is None:
                break
            image, place = picked
            state = self._images[image]
            state.running.add(place)
            state.next = place + 1
            taken.append((image, self._stages[place]))
        return taken

    def finish(self, image: int, stage: Stage, *, is_broken: bool) -> Collection[Stage]:
        """Files the end of an item and returns the running stages of its image to drop."""
        state, place = self._images[image], self._place(stage)
        state.running.discard(place)
        self._note(state, place, is_broken=is_broken)
        dropped = {at for at in state.running if at >= self._end(state)}
        state.running -= dropped
        self._make_ready(image)
        return [self._stages[at] for at in dropped]

    def _place(self, stage: Stage) -> int:
        return stage.number - self._stages[0].number

    def _end(self, state: _Image) -> int:
        """Returns the place before which every stage must be run."""
        return len(self._stages) if state.broken_at is None else state.broken_at

    def _note(self, state: _Image, place: int, *, is_broken: bool) -> None:
        if is_broken:
            state.broken_at = min(place, self._end(state))
        else:
            state.survived.add(place)

    def _make_ready(self, image: int) -> None:
        """Lines an image up if all stages before its next one are done."""
        state = self._images[image]
        while state.next in state.survived:  # done in an earlier session
            state.next += 1
        is_in_order = not state.running and state.next < self._end(state)
        if is_in_order:
            heapq.heappush(self._ready, (state.next, image))

    def _pop_ready(self) -> tuple[int, int] | None:
        while self._ready:
            place, image = heapq.heappop(self._ready)
            state = self._images[image]
            if place == state.next and place < self._end(state):
                return image, place
        return None

    def _ahead(self) -> tuple[int, int] | None:
        """Returns the earliest stage that can be begun before its turn."""
        best: tuple[int, int] | None = None  # (place, image)
        for image, state in self._images.items():
            if not state.running:
                continue
            place = state.next
            while place in state.survived:
                place += 1
            if place < self._end(state) and (best is None or (place, image) < best):
                best = place, image
        return None if best is None else (best[1], best[0])
