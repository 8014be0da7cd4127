"""The space of a search: for each dotted path of a `TrialConfig`, an axis the sampler moves along.

A sample names an axis by its path, and one inside a branch `model[NAME].depths`. An axis with
`when` exists for samples in which other axes, listed before it, have one of the values it names. An
axis whose name begins with `_` is no field: it is there for conditions alone.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import optuna
from optuna.trial import FixedTrial

from search.space.axes import (
    AnyAxis,
    AnyLeafAxis,
    Axis,
    BranchAxis,
    ChoiceAxis,
    FixedAxis,
    IntAxis,
    LogUniformAxis,
    UniformAxis,
    axis_ends,
    contains,
    encode,
    is_among,
)

__all__ = [
    "AnyAxis",
    "AnyLeafAxis",
    "Axis",
    "BranchAxis",
    "ChoiceAxis",
    "FixedAxis",
    "IntAxis",
    "Leaf",
    "LogUniformAxis",
    "Sample",
    "Space",
    "UniformAxis",
    "axis_ends",
    "contains",
    "corner",
    "encode",
    "ends",
    "exists",
    "first_branches",
    "leaf_axes",
    "leaves",
    "sections",
    "suggest",
    "witnesses",
]

optuna.logging.set_verbosity(optuna.logging.WARNING)

Space = Mapping[str, AnyAxis]
Sample = dict[str, Any]
"""A value for each axis of a space that exists for it; a branch axis has the name of its branch."""


class Leaf(NamedTuple):
    """An axis that is no branch axis."""

    name: str
    """In samples."""
    path: str
    """Of the field that it sets."""
    axis: AnyLeafAxis
    where: Sample
    """The branches that a sample must have for the axis to exist, beside `axis.when`."""

    @property
    def is_field(self) -> bool:
        """Whether it sets anything, or drives conditions alone."""
        return not self.path.rpartition(".")[2].startswith("_")


def leaf_axes(space: Space) -> Iterator[Leaf]:
    """Yields each axis that is no branch axis, in the order in which they are drawn."""
    for path, axis in space.items():
        if not isinstance(axis, BranchAxis):
            yield Leaf(path, path, axis, {})
            continue
        for name, branch in axis.branches.items():
            for leaf, inner in branch.space.items():
                yield Leaf(f"{path}[{name}].{leaf}", f"{path}.{leaf}", inner, {path: name})


def exists(leaf: Leaf, sample: Sample) -> bool:
    """Whether an axis exists for a sample of, at least, all axes listed before it."""
    return leaf.where.items() <= sample.items() and all(
        driver in sample and is_among(sample[driver], values)
        for driver, values in leaf.axis.when.items()
    )


def ends(space: Space) -> Iterator[Sample]:
    """Yields a sample for each end of each axis, that sets nothing else but what the axis needs to
    exist; the end comes last."""
    for path, axis in space.items():
        if isinstance(axis, BranchAxis):
            yield from ({path: name} for name in axis.branches)
    for leaf in leaf_axes(space):
        before = next(witnesses(space, leaf))
        yield from ({**before, leaf.name: end} for end in axis_ends(leaf.axis))


def witnesses(space: Space, leaf: Leaf) -> Iterator[Sample]:
    """Yields the samples of nothing but what makes an axis exist; none if it never does."""
    by_name = {other.name: other for other in leaf_axes(space)}

    def extend(sample: Sample, conditions: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[Sample]:
        if not conditions:
            yield sample
            return
        (driver, values), *rest = conditions
        inner = by_name.get(driver)
        more = [*inner.axis.when.items(), *rest] if inner else rest
        for value in values:
            needed = {**(inner.where if inner else {}), driver: value}
            if all(is_among(sample.get(name, need), [need]) for name, need in needed.items()):
                yield from extend({**sample, **needed}, more)

    yield from extend(leaf.where, list(leaf.axis.when.items()))


def corner(space: Space, draw: random.Random) -> Sample:
    """Draws one end of each axis, or of one of whole numbers also a value that conditions name."""
    sample = {
        path: draw.choice(axis_ends(axis))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }
    listed = [pair for leaf in leaf_axes(space) for pair in leaf.axis.when.items()]
    for leaf in leaf_axes(space):
        if exists(leaf, sample):
            named = [value for driver, values in listed if driver == leaf.name for value in values]
            inner = [value for value in named if not is_among(value, axis_ends(leaf.axis))]
            sample[leaf.name] = draw.choice((*axis_ends(leaf.axis), *inner))
    return sample


def sections(space: Space, sample: Sample) -> dict[str, Any]:
    """Returns the dotted paths and values of the sections that a sample chose by their names."""
    return {
        path: axis.branches[sample[path]].section
        for path, axis in space.items()
        if isinstance(axis, BranchAxis) and path in sample
    }


def leaves(space: Space, sample: Sample) -> dict[str, Any]:
    """Returns the dotted paths and values of all else in a sample, to be set after `sections`.

    Fields of axes that do not exist for the sample are among them if the axis says `otherwise`.
    """
    by_name = {leaf.name: leaf for leaf in leaf_axes(space)}
    found: dict[str, Any] = {}
    for leaf in filter(lambda leaf: leaf.is_field, by_name.values()):
        if leaf.name in sample:
            found[leaf.path] = sample[leaf.name]
            continue
        is_in_branch = leaf.where.items() <= sample.items()
        if (
            leaf.axis.otherwise is not None
            and is_in_branch
            and _is_ruled_out(leaf, by_name, sample)
        ):
            found[leaf.path] = leaf.axis.otherwise
    return found


def first_branches(space: Space) -> Sample:
    """Returns the sample of the first branches, where recipes start."""
    return {
        path: next(iter(axis.branches))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }


def as_optuna(sample: Mapping[str, Any], space: Space) -> FixedTrial:
    """Returns a sample as Optuna knows it: encoded, with the distribution of each axis."""
    trial = FixedTrial({name: encode(value) for name, value in sample.items()})
    suggest(trial, space)
    return trial


def suggest(trial: optuna.trial.BaseTrial, space: Space) -> Sample:
    """Asks Optuna for a sample, axis by axis; a trial that was asked before answers the same."""
    sample: Sample = {
        path: trial.suggest_categorical(path, list(axis.branches))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }
    for leaf in leaf_axes(space):
        if exists(leaf, sample):
            sample[leaf.name] = _suggest_one(trial, leaf.name, leaf.axis)
    return sample


def _is_ruled_out(leaf: Leaf, by_name: Mapping[str, Leaf], sample: Sample) -> bool:
    """Whether what a sample has, all or a part of its axes, keeps an axis from existing."""
    if any(sample.get(path, name) != name for path, name in leaf.where.items()):
        return True
    for driver, values in leaf.axis.when.items():
        if driver in sample:
            if not is_among(sample[driver], values):
                return True
        elif driver in by_name and _is_ruled_out(by_name[driver], by_name, sample):
            return True
    return False


def _suggest_one(trial: optuna.trial.BaseTrial, name: str, axis: AnyLeafAxis) -> Any:
    if isinstance(axis, (ChoiceAxis, FixedAxis)):
        by_code = {encode(choice): choice for choice in axis_ends(axis)}
        choice = by_code[trial.suggest_categorical(name, list(by_code))]
        return list(cast(tuple[Any, ...], choice)) if isinstance(choice, tuple) else choice
    if isinstance(axis, IntAxis):
        return trial.suggest_int(name, *axis.bounds)
    return trial.suggest_float(name, *axis.bounds, log=isinstance(axis, LogUniformAxis))
