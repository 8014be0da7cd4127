"""The axes of a space, as YAML says them. Light.

An axis is one key and its bounds: `{choice: [patch, conv]}`, `{int: [1, 3]}`, `{uniform: [0,
0.5]}`, `{log_uniform: [1.0e-4, 1.0e-2]}`, `{fixed: 0.1}`. Ends are included. `{branch: {NAME:
{section: ..., space: ...}}}` chooses among whole sections, each with axes of its own.
"""

import json
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from models.config import Config


class _Axis(Config):
    model_config = ConfigDict(serialize_by_alias=True)


Condition = dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]
"""Axes, named as in samples, and the values of each under which a condition holds."""


class _LeafAxis(_Axis):
    when: Condition = Field(default={}, exclude_if=lambda when: not when)
    """The axis exists where each of these axes exists and has one of its values."""
    otherwise: Any = Field(default=None, exclude_if=lambda value: value is None)
    """Value of the field where the axis does not exist; None keeps the base's."""

    @model_validator(mode="after")
    def _otherwise_needs_a_condition(self) -> "_LeafAxis":
        if self.otherwise is not None and not self.when:
            raise ValueError(
                f"otherwise ({self.otherwise!r}) is the value where the axis does not exist, which "
                "takes a condition: add when, or leave it out"
            )
        return self


class ChoiceAxis(_LeafAxis):
    """A finite set without order; a choice may be a list, such as depths, or a whole section."""

    choices: Annotated[tuple[Any, ...], Field(alias="choice", min_length=1)]


class FixedAxis(_LeafAxis):
    """A constant that shows in samples."""

    value: Any = Field(alias="fixed")


class IntAxis(_LeafAxis):
    """Whole numbers."""

    bounds: tuple[int, int] = Field(alias="int")

    @model_validator(mode="after")
    def _rises(self) -> "IntAxis":
        _check_rises(self.bounds)
        return self


class UniformAxis(_LeafAxis):
    """Real numbers, uniformly."""

    bounds: tuple[float, float] = Field(alias="uniform")

    @model_validator(mode="after")
    def _rises(self) -> "UniformAxis":
        _check_rises(self.bounds)
        return self


class LogUniformAxis(_LeafAxis):
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

    @model_validator(mode="before")
    @classmethod
    def _always_exists(cls, data: Any) -> Any:
        fields = cast(dict[str, Any], data) if isinstance(data, dict) else {}
        for name in CONDITIONAL:
            if name in fields:
                raise ValueError(
                    f"a branch axis exists in every sample and takes no {name}, got "
                    f"{fields[name]!r}; put it on the axes inside its branches"
                )
        return data


CONDITIONAL = ("when", "otherwise")
"""What stands in an axis beside its key."""
KINDS: dict[type, str] = {
    ChoiceAxis: "choice",
    IntAxis: "int",
    UniformAxis: "uniform",
    LogUniformAxis: "log_uniform",
    FixedAxis: "fixed",
    BranchAxis: "branch",
}
"""The key of each class of axis."""


def _kind(value: Any) -> str | None:
    """Returns the one key of an axis; pydantic reports anything else as a missing tag."""
    if isinstance(value, dict):
        keys = [str(key) for key in cast(dict[Any, Any], value) if key not in CONDITIONAL]
        return keys[0] if len(keys) == 1 else None
    return KINDS.get(type(value))


_RULE = (
    "an axis is one of {choice: [...]}, {int: [low, high]}, {uniform: [low, high]}, "
    "{log_uniform: [low, high]}, {fixed: value}"
)
_LEAF_RULE = f"{_RULE}, each with or without when: {{AXIS: [values]}} and otherwise: value"
LeafAxis = Annotated[
    Annotated[ChoiceAxis, Tag("choice")]
    | Annotated[IntAxis, Tag("int")]
    | Annotated[UniformAxis, Tag("uniform")]
    | Annotated[LogUniformAxis, Tag("log_uniform")]
    | Annotated[FixedAxis, Tag("fixed")],
    Discriminator(_kind, custom_error_type="axis", custom_error_message=_LEAF_RULE),
]
Axis = Annotated[
    Annotated[ChoiceAxis, Tag("choice")]
    | Annotated[IntAxis, Tag("int")]
    | Annotated[UniformAxis, Tag("uniform")]
    | Annotated[LogUniformAxis, Tag("log_uniform")]
    | Annotated[FixedAxis, Tag("fixed")]
    | Annotated[BranchAxis, Tag("branch")],
    Discriminator(
        _kind,
        custom_error_type="axis",
        custom_error_message=f"{_LEAF_RULE}; or {{branch: {{NAME: {{section: ..., space: ...}}}}}}",
    ),
]
AnyLeafAxis = ChoiceAxis | IntAxis | UniformAxis | LogUniformAxis | FixedAxis
AnyAxis = AnyLeafAxis | BranchAxis


def axis_ends(axis: AnyAxis) -> tuple[Any, ...]:
    """Returns the values that must be valid for the axis to be: its two ends, or every choice."""
    match axis:
        case BranchAxis():
            return tuple(axis.branches)
        case ChoiceAxis():
            return axis.choices
        case FixedAxis():
            return (axis.value,)
        case _:
            return axis.bounds


def axis_values(axis: AnyAxis) -> tuple[Any, ...] | range | None:
    """Returns all values of an axis that has finitely many; None of one of real numbers."""
    if isinstance(axis, IntAxis):
        return range(axis.bounds[0], axis.bounds[1] + 1)
    return None if isinstance(axis, (UniformAxis, LogUniformAxis)) else axis_ends(axis)


def contains(axis: AnyAxis, value: Any) -> bool:
    """Whether the sampler could choose `value`."""
    if isinstance(axis, (ChoiceAxis, BranchAxis, FixedAxis)):
        return is_among(value, axis_ends(axis))
    low, high = axis.bounds
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_within = is_number and low <= value <= high
    return is_within and (not isinstance(axis, IntAxis) or value == int(value))


def is_among(value: Any, values: tuple[Any, ...] | list[Any]) -> bool:
    """Whether `value` is one of `values`, a list being equal to a tuple."""
    return encode(value) in [encode(other) for other in values]


def encode(value: Any) -> Any:
    """Turns a choice into what Optuna stores: numbers and text as they are, else JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, dict)) else value
