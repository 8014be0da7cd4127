"""The space of a search: for each dotted path of a `TrialConfig`, an axis the sampler moves along.

In YAML an axis is one key and its bounds: `{choice: [patch, conv]}`, `{int: [1, 3]}`,
`{uniform: [0, 0.5]}`, `{log_uniform: [1.0e-4, 1.0e-2]}`. Ends are included.
"""

import json
from typing import Annotated, Any, cast

import optuna
from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from models.config import Config


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


_KINDS: dict[type, str] = {
    ChoiceAxis: "choice",
    IntAxis: "int",
    UniformAxis: "uniform",
    LogUniformAxis: "log_uniform",
}


def _kind(value: Any) -> str | None:
    """Returns the one key of an axis; pydantic reports anything else as a missing tag."""
    if isinstance(value, dict):
        keys = [str(key) for key in cast(dict[Any, Any], value)]
        return keys[0] if len(keys) == 1 else None
    return _KINDS.get(type(value))


Axis = Annotated[
    Annotated[ChoiceAxis, Tag("choice")]
    | Annotated[IntAxis, Tag("int")]
    | Annotated[UniformAxis, Tag("uniform")]
    | Annotated[LogUniformAxis, Tag("log_uniform")],
    Discriminator(
        _kind,
        custom_error_type="axis",
        custom_error_message="an axis is one of {choice: [...]}, {int: [low, high]}, "
        "{uniform: [low, high]}, {log_uniform: [low, high]}",
    ),
]
AnyAxis = ChoiceAxis | IntAxis | UniformAxis | LogUniformAxis


def axis_ends(axis: AnyAxis) -> tuple[Any, ...]:
    """Returns the values that must be valid for the axis to be: its two ends, or every choice."""
    return axis.choices if isinstance(axis, ChoiceAxis) else axis.bounds


def contains(axis: AnyAxis, value: Any) -> bool:
    """Whether the sampler could choose `value`."""
    if isinstance(axis, ChoiceAxis):
        return encode(value) in [encode(choice) for choice in axis.choices]
    low, high = axis.bounds
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and low <= value <= high


def encode(value: Any) -> Any:
    """Turns a choice into what Optuna stores: numbers and text as they are, else JSON text."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, dict)) else value


def suggest(trial: optuna.trial.Trial, space: dict[str, AnyAxis]) -> dict[str, Any]:
    """Asks Optuna for a value on each axis; a trial that was asked before answers the same."""
    return {path: _suggest_one(trial, path, axis) for path, axis in space.items()}


def _suggest_one(trial: optuna.trial.Trial, path: str, axis: AnyAxis) -> Any:
    if isinstance(axis, ChoiceAxis):
        by_code = {encode(choice): choice for choice in axis.choices}
        choice = by_code[trial.suggest_categorical(path, list(by_code))]
        return list(cast(tuple[Any, ...], choice)) if isinstance(choice, tuple) else choice
    if isinstance(axis, IntAxis):
        return trial.suggest_int(path, *axis.bounds)
    return trial.suggest_float(path, *axis.bounds, log=isinstance(axis, LogUniformAxis))
