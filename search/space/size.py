"""How large a space is: combinations of what can be counted, and how many real numbers beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from search.space.axes import BranchAxis, axis_values, is_among
from search.space.space import Leaf, Sample, Space, exists, leaf_axes


@dataclass(frozen=True, kw_only=True)
class SpaceSize:
    """What `space_size` counts."""

    combinations: int
    """Samples that differ in branches, choices, whole numbers, or in which axes they have."""
    real_axes: int
    """The most axes of real numbers that one sample has."""


def space_size(space: Space) -> SpaceSize:
    """Counts the samples of a space, each axis only where it exists."""
    branches = {path: axis for path, axis in space.items() if isinstance(axis, BranchAxis)}
    every = list(leaf_axes(space))
    chosen = product(*(axis.branches for axis in branches.values()))
    return _sum([_size(every, every, dict(zip(branches, names, strict=True))) for names in chosen])


def _size(rest: Sequence[Leaf], every: Sequence[Leaf], sample: Sample) -> SpaceSize:
    combinations, reals = 1, 0
    for place, leaf in enumerate(rest):
        if not exists(leaf, sample):
            continue
        values = axis_values(leaf.axis)
        listed = [v for other in every for v in other.axis.when.get(leaf.name, ())]
        if values is None:
            reals += 1
        elif not listed:
            combinations *= len(values)
        else:
            # All values that no condition names lead to the same axes.
            named = [v for v in values if is_among(v, listed)]
            unnamed = [v for v in values if not is_among(v, listed)]
            groups: list[tuple[Any, int]] = [(v, 1) for v in named]
            groups += [(v, len(unnamed)) for v in unnamed[:1]]
            below = _sum(
                [
                    _times(_size(rest[place + 1 :], every, {**sample, leaf.name: v}), count)
                    for v, count in groups
                ]
            )
            return SpaceSize(
                combinations=combinations * below.combinations, real_axes=reals + below.real_axes
            )
    return SpaceSize(combinations=combinations, real_axes=reals)


def _times(size: SpaceSize, count: int) -> SpaceSize:
    return SpaceSize(combinations=count * size.combinations, real_axes=size.real_axes)


def _sum(sizes: Sequence[SpaceSize]) -> SpaceSize:
    return SpaceSize(
        combinations=sum(size.combinations for size in sizes),
        real_axes=max(size.real_axes for size in sizes),
    )
