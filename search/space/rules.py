"""What a space must be: conditions that can hold, valid ends, axes that something reads."""

import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from search.errors import did_you_mean, explain
from search.overrides import value_at, with_overrides
from search.space.axes import (
    AnyAxis,
    AnyLeafAxis,
    BranchAxis,
    axis_ends,
    axis_values,
    contains,
    is_among,
)
from search.space.candidate import build_trial
from search.space.space import Leaf, Sample, Space, corner, ends, leaf_axes, witnesses
from trainers.config import TrialConfig

CORNERS = 100
PINNED_IN_FULL_RUNS = ("data.source", "data.seed", "threat")
"""Fixed by `base`: another data seed would put pixels that selected a trial into its test split."""
PINNED_IN_TRIALS = (
    *PINNED_IN_FULL_RUNS,
    "seed",
    "data.resolution",
    "data.select_images",
    "data.test_images",
    "epochs",
    "weights.clean_epochs",
    "attack.also",
    "attack.union",
)
"""Fixed by `base`: a sampler would win by a weaker attack or easier images; rungs count epochs; and
checks measure `threat` alone, so it would win by leaving out the other norms."""
READ_IF: dict[str, tuple[str, tuple[str, ...]]] = {
    "attack.reach": ("attack.name", ("fgsm", "pgd")),
    "attack.project": ("attack.name", ("fgsm",)),
    "objective.beta": ("objective.name", ("trades", "mart")),
    "optim.step_every": ("optim.schedule", ("step",)),
    "model.stem_convs": ("model.stem", ("conv",)),
    "model.stem_widths": ("model.stem", ("conv",)),
    "model.stem_projection": ("model.stem", ("conv",)),
    "model.stem_act": ("model.stem", ("conv",)),
}
"""Fields that nothing reads unless another field has one of these values."""
Check = Callable[[TrialConfig], object]
"""Raises ValueError if the search could not run such a trial."""


def check_space(
    base: TrialConfig, space: Space, *, full_run: Mapping[str, Any], check: Check
) -> None:
    """Tries all conditions, both ends of every axis, and random combinations of ends.

    Args:
        full_run: The overrides that make a full run of a trial.

    Raises:
        ValueError: If a sample could be no trial, or an axis changes nothing.
    """
    check_conditions(space)
    refuse(space, PINNED_IN_TRIALS, "space")
    refuse((leaf.path for leaf in leaf_axes(space)), PINNED_IN_TRIALS, "space")
    # First what is said otherwise: the ends of what it hangs on bring it along.
    for what, sample in (*_otherwise(space), *_ends(space)):
        _check_pins(_sampled(base, space, sample, what, check), base, what)
    _check_every_axis_is_read(base, space)
    _check_corners(base, space, full_run, check)


def check_conditions(space: Space) -> None:
    """Looks at the conditions alone.

    Raises:
        ValueError: If one cannot hold, or an axis is there for conditions and none names it.
    """
    before: dict[str, AnyAxis] = {p: axis for p, axis in space.items() if _names(axis)}
    every = list(leaf_axes(space))
    for leaf in every:
        for driver, values in leaf.axis.when.items():
            where = f"space.{leaf.name}.when"
            if driver not in before:
                raise ValueError(f"{where} names {driver!r}, {_why_not(driver, space, before)}")
            _check_values(where, driver, before[driver], values)
        if not any(True for _ in witnesses(space, leaf)):
            raise ValueError(f"space.{leaf.name} never exists: its conditions exclude each other")
        before[leaf.name] = leaf.axis
    named = {driver for leaf in every for driver in leaf.axis.when}
    for leaf in every:
        _check_helper(leaf, is_named=leaf.name in named)


@contextmanager
def blaming(what: str) -> Generator[None]:
    """Turns every way in which a change of a config can fail into a ValueError that names it."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{what} cannot be set: {error.args[0]}") from error
    except ValidationError as error:
        rules = "; ".join(explain(error, TrialConfig))
        raise ValueError(f"{what} is invalid: {rules}") from error
    except ValueError as error:
        raise ValueError(f"{what} is invalid: {error}") from error


def refuse(paths: Iterable[str], pinned: Sequence[str], what: str) -> None:
    """Raises ValueError if one of `paths` is, or lies in, a pinned one."""
    for path in paths:
        if any(path == pin or path.startswith(f"{pin}.") for pin in pinned):
            raise ValueError(
                f"{what} must not change {path}, or numbers could not be compared; set it in base"
            )


def _why_not(driver: str, space: Space, before: Mapping[str, AnyAxis]) -> str:
    names = [*space, *(leaf.name for leaf in leaf_axes(space))]
    if driver in names:
        return "which is not listed before it; list it first"
    return (
        f"which is no axis of the space{did_you_mean(driver, names)}; before it are "
        f"{', '.join(before) or 'none'}"
    )


def _check_values(where: str, driver: str, axis: AnyAxis, values: Sequence[Any]) -> None:
    taken = axis_values(axis)
    if taken is None:
        raise ValueError(
            f"{where} names {driver!r}, an axis of real numbers, which hardly ever is exactly one "
            "of them; name an axis of choices or whole numbers"
        )
    for value in values:
        if not contains(axis, value):
            words = f"{taken[0]} to {taken[-1]}" if isinstance(taken, range) else list(taken)
            raise ValueError(f"{where}: {driver} is never {value!r}, but one of {words}")


def _check_helper(leaf: Leaf, *, is_named: bool) -> None:
    if leaf.is_field:
        return
    if not is_named:
        raise ValueError(
            f"space.{leaf.name} changes nothing: its name begins with '_', so it is no field, and "
            "no axis names it in its when"
        )
    if leaf.axis.otherwise is not None:
        raise ValueError(
            f"space.{leaf.name}: its name begins with '_', so it is no field and has no value "
            f"where it does not exist, got otherwise {leaf.axis.otherwise!r}; leave it out"
        )


def _ends(space: Space) -> Iterator[tuple[str, Sample]]:
    for sample in ends(space):
        name, value = list(sample.items())[-1]
        yield f"space.{name}: the value {value!r}", sample


def _otherwise(space: Space) -> Iterator[tuple[str, Sample]]:
    """Yields a sample without the axis for each axis that says what its field is then."""
    by_name = {leaf.name: leaf for leaf in leaf_axes(space)}
    for leaf in by_name.values():
        if leaf.axis.otherwise is None:
            continue
        what = f"space.{leaf.name}: the value {leaf.axis.otherwise!r} of otherwise"
        for driver, values in leaf.axis.when.items():
            axis = by_name[driver].axis if driver in by_name else space[driver]
            other = next((v for v in axis_values(axis) or () if not is_among(v, values)), None)
            there = next(witnesses(space, by_name[driver])) if driver in by_name else {}
            agrees = all(leaf.where.get(name, value) == value for name, value in there.items())
            if other is not None and agrees:
                yield what, {**leaf.where, **there, driver: other}


def _check_every_axis_is_read(base: TrialConfig, space: Space) -> None:
    for leaf in leaf_axes(space):
        if leaf.path not in READ_IF:
            continue
        switch, values = READ_IF[leaf.path]
        seen = _values_of(switch, leaf, base, space)
        if not set(seen) & set(values):
            raise ValueError(
                f"space.{leaf.name} changes nothing: it is read only where {switch} is one of "
                f"{list(values)}, and it is {' or '.join(sorted(set(map(repr, seen))))}"
            )


def _values_of(path: str, reader: Leaf, base: TrialConfig, space: Space) -> list[Any]:
    """Returns the values that a field can have where the axis `reader` exists."""
    branches = [{name: value} for name, axis in space.items() for value in _names(axis)]
    values: list[Any] = []
    for sample in [reader.where] if reader.where or not branches else branches:
        setters = [
            leaf
            for leaf in leaf_axes(space)
            if leaf.path == path and leaf.where.items() <= sample.items()
        ]
        trial = build_trial(base, space, sample, recipe=None)
        for leaf in setters[:1]:
            values += reader.axis.when.get(leaf.name, axis_ends(leaf.axis))
        if all(leaf.axis.when for leaf in setters[:1]):
            values.append(_without(setters, value_at(trial, path)))
    return values


def _without(setters: Sequence[Leaf], base: Any) -> Any:
    """Returns the value of a field where no axis sets it."""
    axis: AnyLeafAxis | None = setters[0].axis if setters else None
    return base if axis is None or axis.otherwise is None else axis.otherwise


def _check_corners(
    base: TrialConfig, space: Space, full_run: Mapping[str, Any], check: Check
) -> None:
    """Rules between fields can fail where each end alone is valid: tries random corners."""
    draw = random.Random(0)
    for _ in range(CORNERS):
        sample = corner(space, draw)
        trial = _sampled(base, space, sample, f"space: the combination {sample}", check)
        with blaming(f"promotion.overrides: with the sample {sample}, the full run"):
            check(with_overrides(trial, full_run))


def _check_pins(changed: TrialConfig, base: TrialConfig, what: str) -> None:
    """Raises ValueError if a whole section, chosen at once, brings a pinned field along."""
    for pin in PINNED_IN_TRIALS:
        if value_at(changed, pin) != value_at(base, pin):
            raise ValueError(
                f"{what} changes {pin}, which is set in base for all trials alike, or numbers "
                "could not be compared"
            )


def _sampled(
    base: TrialConfig, space: Space, sample: Sample, what: str, check: Check
) -> TrialConfig:
    """Returns the trial of a sample; a failure names `what` brought it."""
    with blaming(what):
        config = build_trial(base, space, sample, recipe=None)
        check(config)
    return config


def _names(axis: AnyAxis) -> tuple[str, ...]:
    return tuple(axis.branches) if isinstance(axis, BranchAxis) else ()
