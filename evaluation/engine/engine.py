"""The engine: images and stages in, outcomes out, as they become certain.

Every image has its own random numbers and its own lane, so that no outcome depends on the batch
size, on the other images or on which process did the work. A search may run in bf16 or compiled;
what counts is what the plain model says in float32, of the clean image and of each success.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from evaluation.engine.apgd import ApgdLanes
from evaluation.engine.apgd_l1 import ApgdL1Lanes
from evaluation.engine.clean import Clean, load, look_at
from evaluation.engine.fab import FabLanes
from evaluation.engine.lanes import Item, Lanes, Logits
from evaluation.engine.queue import Queue
from evaluation.engine.square import SquareLanes
from evaluation.engine.stages import Stage, rounds_of
from evaluation.precision import full_precision
from evaluation.verify import inspect_adversarial, margins_of
from models.config import Config
from trainers.attacks.mode import attack_mode
from trainers.compute import Bf16Network
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

FEWEST = 8
"""Lanes at least: with one row a matrix product rounds otherwise."""
LOOK = 5
"""Iterations on an accelerator between two looks at what was found; each look waits for it."""


class SearchConfig(Config):
    """How attacks compute; what they claim is verified in float32 whatever is set here."""

    batch_size: int = Field(ge=1)
    """Images that are attacked together; on a CPU no result depends on it."""
    precision: Literal["fp32", "bf16"]
    """`bf16` may miss what float32 would find, so it errs towards robustness."""
    compile: bool
    """Whether torch compiles the model."""
    seed: int = Field(ge=0)
    """With an image's place and the stage it seeds the item's own random numbers."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one item ended."""

    image: int
    stage: int
    is_broken: bool
    iteration: int
    """At which it was broken; else how many there were."""
    margin: float
    """Of the adversarial image; 0 where there is none."""
    norm: float
    """Of its perturbation; 0 where there is none."""


OnOutcome = Callable[[Outcome, Tensor | None], None]
"""Told each outcome, with the adversarial image (c, h, w) where there is one."""


class Engine:
    """Attacks the images of one list on one model."""

    def __init__(
        self,
        model: nn.Module,
        images: ImageSet,
        threat: ThreatModel,
        config: SearchConfig,
        *,
        numbers: range,
        device: torch.device,
    ) -> None:
        """`model` is on `device`; it is attacked in eval mode and left as it was.

        Args:
            numbers: Of the images, in their order: 0, 1, ... or, in a shard, every k-th. They are
                what an image is called from here on, and a part of its seeds.
        """
        self._model = model
        self._images = images
        self._threat = threat
        self._config = config
        self._device = device
        self._numbers = numbers
        searched = Bf16Network(model) if config.precision == "bf16" else model
        if config.compile:
            searched = torch.compile(searched, dynamic=False)  # pyright: ignore
        self._logits: Logits = searched
        # Of several claims between two looks only the first is verified, and only one that another
        # arithmetic makes may be denied.
        is_plain = searched is model
        self._look = LOOK if is_plain and device.type != "cpu" else 1

    def look(self, index: Sequence[int], *, targets: int) -> list[Clean]:
        """Asks the plain model about the clean images at `index`: see `look_at`."""
        return look_at(
            self._model,
            self._images,
            index,
            numbers=self._numbers,
            targets=targets,
            lanes=max(self._config.batch_size, FEWEST),
            device=self._device,
        )

    def attack(
        self,
        clean: Iterable[Clean],
        stages: Sequence[Stage],
        *,
        known: Mapping[tuple[int, int], bool],
        on_outcome: OnOutcome,
    ) -> None:
        """Attacks the images that are right, stage by stage, until each is broken or through.

        Args:
            known: Whether stage s broke image i, by (i, s), for what is done already.

        Raises:
            RuntimeError: If an attack leaves the ball or the box.
        """
        standing = {one.image: one for one in clean if one.predicted == one.label}
        known = dict(known)
        with attack_mode(self._model), full_precision():
            for stages_now in rounds_of(stages):
                queue = Queue(stages_now, standing, known=known)
                if len(queue):
                    self._run_round(queue, stages_now, standing, known, on_outcome)
                numbers = [stage.number for stage in stages_now]
                broken = {i for i in standing if any(known.get((i, s), False) for s in numbers)}
                standing = {i: one for i, one in standing.items() if i not in broken}

    def _run_round(
        self,
        queue: Queue,
        stages: Sequence[Stage],
        standing: Mapping[int, Clean],
        known: dict[tuple[int, int], bool],
        on_outcome: OnOutcome,
    ) -> None:
        batch_size = _even_share(len(queue), self._config.batch_size)
        lanes = self._lanes(stages[0], max(batch_size, FEWEST))
        items: dict[int, Item] = {}  # by row
        free = list(range(batch_size))
        while True:
            self._begin(lanes, items, free, queue, standing)
            if not items:
                return
            for _ in range(self._look):
                lanes.advance()
            for row, outcome, x_adv in self._ended(lanes, items):
                if row not in items:
                    continue  # dropped: an earlier stage broke the image at the same time
                item = items.pop(row)
                free.append(row)
                known[outcome.image, outcome.stage] = outcome.is_broken
                on_outcome(outcome, x_adv)
                dropped = queue.finish(item.image, item.stage, is_broken=outcome.is_broken)
                gone = [at for at, other in items.items() if _is_in(other, item.image, dropped)]
                for at in gone:
                    del items[at]
                    free.append(at)

    def _begin(
        self,
        lanes: Lanes,
        items: dict[int, Item],
        free: list[int],
        queue: Queue,
        standing: Mapping[int, Clean],
    ) -> None:
        """Fills the free lanes from the queue."""
        new = [
            Item(
                image=image,
                stage=stage,
                seed=item_seed(self._config.seed, image=image, stage=stage.number),
                target=standing[image].targets[stage.rank - 1] if stage.rank else -1,
            )
            for image, stage in queue.take(len(free))
        ]
        if not new:
            return
        rows = [free.pop() for _ in new]
        images = [item.image for item in new]
        x, y = load(self._images, images, numbers=self._numbers, device=self._device)
        lanes.begin(torch.tensor(rows, device=self._device), x, y, new)
        items.update(zip(rows, new, strict=True))

    def _ended(
        self, lanes: Lanes, items: Mapping[int, Item]
    ) -> list[tuple[int, Outcome, Tensor | None]]:
        """Returns the rows whose item is over; a success that is none in float32 goes on."""
        is_fooled, is_finished = torch.stack([lanes.is_fooled, lanes.is_finished]).tolist()
        ended: list[tuple[int, Outcome, Tensor | None]] = []
        is_finite = lanes.found.isfinite().flatten(1).all(dim=1).tolist() if any(is_fooled) else []
        claimed = [row for row in items if is_fooled[row] and is_finite[row]]
        refuted = [row for row in items if is_fooled[row] and not is_finite[row]]
        if claimed:
            norms, logits = inspect_adversarial(
                self._model, lanes.x, _where_claimed(lanes, claimed), self._threat
            )
            margins, is_wrong = margins_of(logits, lanes.y), logits.argmax(dim=1) != lanes.y
            columns = (norms, margins, is_wrong.to(norms), lanes.found_at.to(norms))
            values = torch.stack(columns, dim=1).tolist()
            for row in claimed:
                norm, margin, wrong, at = values[row]
                if wrong:
                    outcome = _outcome(items[row], True, int(at), margin, norm)
                    ended.append((row, outcome, lanes.found[row].cpu()))
                else:
                    refuted.append(row)
        if refuted:
            lanes.resume_search(torch.tensor(refuted, device=self._device))
        over = {row for row, _, _ in ended}
        for row, item in items.items():
            if is_finished[row] and row not in over:
                ended.append((row, _outcome(item, False, item.stage.attack.steps, 0.0, 0.0), None))
        # The first stage of an image first: it decides which of the others still count.
        return sorted(ended, key=lambda end: (end[1].stage, end[1].image))

    def _lanes(self, stage: Stage, lanes: int) -> Lanes:
        shape = self._images.images.shape[1:]
        arguments = self._logits, self._threat
        if stage.family == "fab":
            return FabLanes(*arguments, lanes=lanes, shape=shape, device=self._device)
        if stage.family == "square":
            return SquareLanes(*arguments, lanes=lanes, shape=shape, device=self._device)
        kind = ApgdL1Lanes if self._threat.norm == "l1" else ApgdLanes
        passes = stage.attack.passes
        return kind(*arguments, lanes=lanes, shape=shape, device=self._device, passes=passes)


def item_seed(seed: int, *, image: int, stage: int) -> int:
    """Returns the seed of the random numbers of one image in one stage."""
    return int(np.random.SeedSequence([seed, image, stage]).generate_state(1)[0])


def _outcome(item: Item, is_broken: bool, iteration: int, margin: float, norm: float) -> Outcome:
    return Outcome(
        image=item.image,
        stage=item.stage.number,
        is_broken=is_broken,
        iteration=iteration,
        margin=margin,
        norm=norm,
    )


def _where_claimed(lanes: Lanes, claimed: Sequence[int]) -> Tensor:
    """Returns what was found, and clean images in the other lanes: one shape, whoever claims."""
    is_claimed = torch.zeros(len(lanes.y), dtype=torch.bool)
    is_claimed[list(claimed)] = True
    mask = is_claimed.to(lanes.x.device).view(-1, 1, 1, 1)
    return torch.where(mask, lanes.found, lanes.x)


def _is_in(item: Item, image: int, stages: Iterable[Stage]) -> bool:
    return item.image == image and item.stage in stages


def _even_share(items: int, batch_size: int) -> int:
    """Returns the largest batch, at most `batch_size`, of equally many that hold all `items`."""
    batches = -(-items // batch_size)
    return -(-items // batches)
