"""How much of an evaluation is done, in forward passes: the known cost of each surviving image."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.engine.journal import Found
from evaluation.engine.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Where an evaluation stands."""

    images: int
    decided: int
    standing: int
    """Decided and robust."""
    done: float
    """Forward passes that have been spent on whole runs."""
    remaining: float
    """Forward passes to come if no further image breaks."""

    @property
    def share(self) -> float:
        """Done as a fraction of all that there is to do."""
        return self.done / (self.done + self.remaining) if self.remaining else 1.0

    def seconds_left(self, elapsed: float, *, done_before: float) -> float:
        """Returns the time to come at the rate of this session.

        Args:
            elapsed: Seconds of this session.
            done_before: `done` when it began.
        """
        new = self.done - done_before
        return elapsed * self.remaining / new if new > 0 else float("nan")


def stage_cost(stage: Stage) -> float:
    """Returns the forward passes of one image that survives; an input gradient counts as one.

    Source: APGD takes 2 a step, FAB 3, Square 1 a query (robustness.md, D1; measured there).
    """
    steps = float(stage.attack.steps)
    if stage.family == "square":
        return steps + 1
    return 3 * steps if stage.family == "fab" else 2 * (steps + 1) * stage.attack.passes


def estimate(found: Found, stages: Sequence[Stage], *, images: int) -> Estimate:
    """Returns where an evaluation of `images` images stands; unseen ones count as right."""
    costs = [stage_cost(stage) for stage in stages]
    done = remaining = 0.0
    decided = standing = 0
    for image in range(images):
        clean = found.clean.get(image)
        if clean is not None and clean.predicted != clean.label:
            decided += 1
            continue
        ends = [found.outcomes.get((image, stage.number)) for stage in stages]
        first = next((at for at, end in enumerate(ends) if end and end.is_broken), len(stages))
        missing = [cost for cost, end in zip(costs[:first], ends[:first], strict=True) if not end]
        done += sum(
            cost * (end.iteration / max(stage.attack.steps, 1) if end.is_broken else 1)
            for cost, end, stage in zip(costs, ends, stages, strict=True)
            if end
        )
        remaining += sum(missing)
        if clean is not None and not missing:
            decided += 1
            standing += first == len(stages)
    return Estimate(
        images=images, decided=decided, standing=standing, done=done, remaining=remaining
    )
