"""What a replayed search sees and is scored by: one task is a space, values over epochs, noise."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search.space.space import (
    ChoiceAxis,
    IntAxis,
    LogUniformAxis,
    Sample,
    Space,
    UniformAxis,
    leaf_axes,
)
from search.strategy.ranking import pareto_fronts

EPOCHS = 27
"""Of a full training, in every task."""
Values = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A search whose every outcome is known. All objectives are to be maximised."""

    name: str
    space: Space
    mean: Callable[[Sample, int], Values]
    """Noiseless values after so many of `EPOCHS`; after the last one, the truth."""
    noise_sd: float
    """Of one number, in the first objective: half of the variance belongs to the training, which
    keeps it, and half to each check."""
    reference: Values
    """With several objectives, the corner from which hypervolume is measured; else empty."""
    best: float
    """The highest quality that there is."""
    typical: float
    """The median quality of a random configuration."""

    def quality(self, chosen: Sequence[Sample]) -> float:
        """Returns the true value of what a search would promote, or the hypervolume of its set."""
        truths = [self.mean(sample, EPOCHS) for sample in chosen]
        if not self.reference:
            return truths[0][0]
        return hypervolume(truths, self.reference)

    def regret(self, chosen: Sequence[Sample]) -> float:
        """Returns 0 for the best there is, 1 for the median of random configurations."""
        return (self.best - self.quality(chosen)) / (self.best - self.typical)


def hypervolume(points: Sequence[Values], reference: Values) -> float:
    """Returns the area that two objectives dominate, above `reference`."""
    inside = [p for p in points if p[0] > reference[0] and p[1] > reference[1]]
    area, floor = 0.0, reference[1]
    for first, second in sorted(set(inside), reverse=True):
        if second > floor:
            area += (first - reference[0]) * (second - floor)
            floor = second
    return area


def front(points: Sequence[Values]) -> list[int]:
    """Returns the indices of what is promoted: the best, or all that nothing dominates."""
    if len(points[0]) == 1:
        return [max(range(len(points)), key=lambda i: points[i][0])]
    return pareto_fronts(points)[0]


def draw_sample(space: Space, draw: random.Random) -> Sample:
    """Draws each axis by itself; the tasks have neither branches nor constants."""
    sample: Sample = {}
    for name, _, axis, _ in leaf_axes(space):
        if isinstance(axis, ChoiceAxis):
            sample[name] = draw.choice(axis.choices)
        elif isinstance(axis, IntAxis):
            sample[name] = draw.randint(*axis.bounds)
        elif isinstance(axis, LogUniformAxis):
            low, high = axis.bounds
            sample[name] = low * (high / low) ** draw.random()
        elif isinstance(axis, UniformAxis):
            sample[name] = draw.uniform(*axis.bounds)
    return sample


def typical_quality(
    space: Space, mean: Callable[[Sample, int], Values], *, reference: Values
) -> float:
    """Returns the median quality of 1000 random configurations."""
    draw = random.Random(0)
    truths = [mean(draw_sample(space, draw), EPOCHS) for _ in range(1000)]
    if not reference:
        return statistics.median(truth[0] for truth in truths)
    return statistics.median(hypervolume([truth], reference) for truth in truths)


def choice(*values: object) -> ChoiceAxis:
    """Returns an axis without order."""
    return ChoiceAxis.model_validate({"choice": values})


def whole(low: int, high: int) -> IntAxis:
    """Returns an axis of whole numbers, such as the places of an ordered list."""
    return IntAxis.model_validate({"int": [low, high]})
