"""The space of a search: for each dotted path of a `TrialConfig`, an axis the sampler moves along.

In YAML an axis is one key and its bounds: `{choice: [patch, conv]}`, `{int: [1, 3]}`,
`{uniform: [0, 0.5]}`, `{log_uniform: [1.0e-4, 1.0e-2]}`. Ends are included. `{branch: {NAME:
{section: ..., space: ...}}}` chooses among whole sections, each with axes of its own: a space over
several families of models. A sample names such an axis `model[NAME].depths`.
"""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

import optuna
from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from models.config import Config

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Axis(Config):
    model_config = ConfigDict(serialize_by_alias=True)


class ChoiceAxis(_Axis):
    """A finite set without order; a choice may be a list, such as depths, or a whole section."""

    choices: Annotated[tuple[Any, ...], Field(alias="choice", min_length=1)]


class IntAxis(_Axis):
    """Whole numbers."""

    bounds: tuple[int, int] = Field(alias="int")

    @model_validator(mode="after")
    def _rises(self) -> "IntAxis":
        _check_rises(self.bounds)
        return self


class UniformAxis(_Axis):
    """Real numbers, uniformly."""

    bounds: tuple[float, float] = Field(alias="uniform")

    @model_validator(mode="after")
    def _rises(self) -> "UniformAxis":
        _check_rises(self.bounds)
        return self


class LogUniformAxis(_Axis):
    """Positive real numbers, uniformly in their logarithm."""

    bounds: tuple[float, float] = Field(alias="log_uniform")

    @model_validator(mode="after")
    def _rises(self) -> "LogUniformAxis":
        _check_rises(self.bounds)
        if self.bounds[0] <= 0:
            raise ValueError(f"log_uniform needs a low end above 0, got {self.bounds[0]:g}")
        return self


def _check_rises(bounds: tuple[float, float]) -> None:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"low must be less than high, got [{bounds[0]:g}, {bounds[1]:g}]")


class Branch(Config):
    """One of several sections, and what may change in it."""

    section: dict[str, Any]
    """The whole section; in a space over models, a `ModelConfig`."""
    space: "dict[str, LeafAxis]"
    """Paths inside the section and their axes."""


class BranchAxis(_Axis):
    """A choice among sections; axes of the sections not chosen do not exist for the sample."""

    branches: Annotated[dict[str, Branch], Field(alias="branch", min_length=1)]


_KINDS: dict[type, str] = {
    ChoiceAxis: "choice",
    IntAxis: "int",
    UniformAxis: "uniform",
    LogUniformAxis: "log_uniform",
    BranchAxis: "branch",
}


def _kind(value: Any) -> str | None:
    """Returns the one key of an axis; pydantic reports anything else as a missing tag."""
    if isinstance(value, dict):
        keys = [str(key) for key in cast(dict[Any, Any], value)]
        return keys[0] if len(keys) == 1 else None
    return _KINDS.get(type(value))


_RULE = (
    "an axis is one of {choice: [...]}, {int: [low, high]}, {uniform: [low, high]}, "
    "{log_uniform: [low, high]}"
)
LeafAxis = Annotated[
    Annotated[ChoiceAxis, Tag("choice")]
    | Annotated[IntAxis, Tag("int")]
    | Annotated[UniformAxis, Tag("uniform")]
    | Annotated[LogUniformAxis, Tag("log_uniform")],
    Discriminator(_kind, custom_error_type="axis", custom_error_message=_RULE),
]
Axis = Annotated[
    Annotated[ChoiceAxis, Tag("choice")]
    | Annotated[IntAxis, Tag("int")]
    | Annotated[UniformAxis, Tag("uniform")]
    | Annotated[LogUniformAxis, Tag("log_uniform")]
    | Annotated[BranchAxis, Tag("branch")],
    Discriminator(
        _kind,
        custom_error_type="axis",
        custom_error_message=f"{_RULE}, {{branch: {{NAME: {{section: ..., space: ...}}}}}}",
    ),
]
AnyLeafAxis = ChoiceAxis | IntAxis | UniformAxis | LogUniformAxis
AnyAxis = AnyLeafAxis | BranchAxis
Space = Mapping[str, AnyAxis]
Sample = dict[str, Any]
"""A value for each axis of a space that exists for it; a branch axis has the name of its branch."""


def axis_ends(axis: AnyAxis) -> tuple[Any, ...]:
    """Returns the values that must be valid for the axis to be: its two ends, or every choice."""
    if isinstance(axis, BranchAxis):
        return tuple(axis.branches)
    return axis.choices if isinstance(axis, ChoiceAxis) else axis.bounds


def contains(axis: AnyAxis, value: Any) -> bool:
    """Whether the sampler could choose `value`."""
    if isinstance(axis, (ChoiceAxis, BranchAxis)):
        return encode(value) in [encode(choice) for choice in axis_ends(axis)]
    low, high = axis.bounds
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and low <= value <= high


def encode(value: Any) -> Any:
    """Turns a choice into what Optuna stores: numbers and text as they are, else JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, dict)) else value


def leaf_axes(space: Space) -> Iterator[tuple[str, str, AnyLeafAxis, Sample]]:
    """Yields each axis that is no branch axis: its name in samples, its path, and itself.

    The last item says which branches a sample must have for the axis to exist.
    """
    for path, axis in space.items():
        if not isinstance(axis, BranchAxis):
            yield path, path, axis, {}
            continue
        for name, branch in axis.branches.items():
            for leaf, inner in branch.space.items():
                yield f"{path}[{name}].{leaf}", f"{path}.{leaf}", inner, {path: name}


def ends(space: Space) -> Iterator[Sample]:
    """Yields a sample for each end of each axis, that sets nothing else."""
    for path, axis in space.items():
        if isinstance(axis, BranchAxis):
            yield from ({path: name} for name in axis.branches)
    for name, _, axis, where in leaf_axes(space):
        yield from ({**where, name: end} for end in axis_ends(axis))


def corner(space: Space, draw: random.Random) -> Sample:
    """Draws one end of each axis."""
    sample = {
        path: draw.choice(axis_ends(axis))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }
    return sample | {
        name: draw.choice(axis_ends(axis))
        for name, _, axis, where in leaf_axes(space)
        if where.items() <= sample.items()
    }


def sections(space: Space, sample: Sample) -> dict[str, Any]:
    """Returns the dotted paths and values of the sections that a sample chose by their names."""
    return {
        path: axis.branches[sample[path]].section
        for path, axis in space.items()
        if isinstance(axis, BranchAxis) and path in sample
    }


def leaves(space: Space, sample: Sample) -> dict[str, Any]:
    """Returns the dotted paths and values of all else in a sample, to be set after `sections`."""
    return {path: sample[name] for name, path, _, _ in leaf_axes(space) if name in sample}


def first_branches(space: Space) -> Sample:
    """Returns the sample of the first branches, where recipes start."""
    return {
        path: next(iter(axis.branches))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }


def suggest(trial: optuna.trial.Trial, space: Space) -> Sample:
    """Asks Optuna for a sample; a trial that was asked before answers the same."""
    sample: Sample = {
        path: trial.suggest_categorical(path, list(axis.branches))
        for path, axis in space.items()
        if isinstance(axis, BranchAxis)
    }
    for name, _, axis, where in leaf_axes(space):
        if where.items() <= sample.items():
            sample[name] = _suggest_one(trial, name, axis)
    return sample


def _suggest_one(trial: optuna.trial.Trial, name: str, axis: AnyLeafAxis) -> Any:
    if isinstance(axis, ChoiceAxis):
        by_code = {encode(choice): choice for choice in axis.choices}
        choice = by_code[trial.suggest_categorical(name, list(by_code))]
        return list(cast(tuple[Any, ...], choice)) if isinstance(choice, tuple) else choice
    if isinstance(axis, IntAxis):
        return trial.suggest_int(name, *axis.bounds)
    return trial.suggest_float(name, *axis.bounds, log=isinstance(axis, LogUniformAxis))
