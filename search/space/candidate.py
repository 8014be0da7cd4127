"""From a sample of the space, and the recipe it may come from, to the config of a trial."""

from collections.abc import Iterator, Sequence

from search.overrides import value_at, with_overrides
from search.recipes import Recipe, overrides_for
from search.space.axes import axis_values, contains, is_among
from search.space.space import (
    Leaf,
    Sample,
    Space,
    exists,
    first_branches,
    leaf_axes,
    leaves,
    sections,
)
from trainers.config import TrialConfig


def build_trial(
    base: TrialConfig, space: Space, sample: Sample, *, recipe: Recipe | None
) -> TrialConfig:
    """Returns `base` with the sections of `sample`, then the recipe, then the rest of `sample`.

    Raises:
        KeyError: If a path does not exist.
        pydantic.ValidationError: If a value breaks the schema.
    """
    start = with_overrides(base, sections(space, sample))
    fixed = overrides_for(recipe, start.model) if recipe else {}
    return with_overrides(start, {**fixed, **leaves(space, sample)})


def recipe_sample(base: TrialConfig, space: Space, recipe: Recipe) -> Sample:
    """Returns the point of `space` where `recipe` lies; branch axes take their first branch.

    Axes that are no fields take the values under which the recipe lies in the space, or the nearest
    to that: whether its values are within their axes is not checked here.

    Raises:
        KeyError: If a path does not exist.
        pydantic.ValidationError: If the recipe breaks the schema.
        ValueError: If the space would set another value than the recipe's where an axis does not
            exist.
    """
    branches = first_branches(space)
    start = with_overrides(base, sections(space, branches))
    config = with_overrides(start, overrides_for(recipe, start.model))
    every = [leaf for leaf in leaf_axes(space) if leaf.where.items() <= branches.items()]
    points = [
        (_lost(every, point, start, config), _outside(every, point), point)
        for point in _points(every, branches, config)
    ]
    lost, _, point = min(points, key=lambda one: len(one[0]) + one[1])
    if lost:
        raise ValueError(lost[0])
    return point


def _points(rest: Sequence[Leaf], sample: Sample, config: TrialConfig) -> Iterator[Sample]:
    """Yields a sample for each combination of the axes that are no fields."""
    for place, leaf in enumerate(rest):
        if not exists(leaf, sample):
            continue
        if not leaf.is_field:
            for value in axis_values(leaf.axis) or ():
                yield from _points(rest[place + 1 :], {**sample, leaf.name: value}, config)
            return
        sample = {**sample, leaf.name: value_at(config, leaf.path)}
    yield sample


def _lost(
    every: Sequence[Leaf], point: Sample, start: TrialConfig, config: TrialConfig
) -> list[str]:
    """Returns a sentence for each field of a recipe that a point would not keep."""
    helpers = {leaf.name for leaf in every if not leaf.is_field}
    sentences: list[str] = []
    for leaf in every:
        # Where fields alone say that an axis does not exist, the recipe's value stays as it is.
        is_ours = leaf.axis.otherwise is not None or helpers & set(leaf.axis.when)
        if leaf.name in point or not leaf.is_field or not is_ours:
            continue
        there = leaf.axis.otherwise
        there = value_at(start, leaf.path) if there is None else there
        if not is_among(mine := value_at(config, leaf.path), [there]):
            sentences.append(
                f"{leaf.name} does not exist there, so {leaf.path} is {there!r}, and the recipe "
                f"has {mine!r}; widen the axis or its when, or leave the recipe out"
            )
    return sentences


def _outside(every: Sequence[Leaf], point: Sample) -> int:
    """Counts the values of a point that their axes do not contain."""
    return sum(leaf.name in point and not contains(leaf.axis, point[leaf.name]) for leaf in every)
