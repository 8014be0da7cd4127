"""Mistakes that a user can fix: the command line prints them without traceback and exits with 2."""

import difflib
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from models.config import FAMILIES
from trainers.data.config import DataSource

_AXES = ("choice", "fixed", "int", "uniform", "log_uniform")
_SAMPLERS = ("tpe", "gp", "random", "qmc", "grid", "nsga2", "nsga3", "cmaes")
_TAGGED = {"model": FAMILIES, "data": get_args(DataSource), "sampler": _SAMPLERS}
"""Fields whose value decides by a tag which class it is of."""


class UserError(Exception):
    """The rule, what came, and the way out."""


class NothingToShowError(Exception):
    """What was asked was right, but did not lead to a result; the reason, and the way on."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Returns a line for each broken rule: field, rule, what came, nearest known name."""
    known = list(field_paths(model))
    return [_explain_one(dict(e), known) for e in error.errors(include_url=False)]


def field_paths(model: Any, prefix: str = "") -> Iterator[str]:
    """Yields the dotted path of every field of a config class, nested ones and unions included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for nested in _config_classes(field.annotation):
            yield from field_paths(nested, f"{prefix}{name}.")


def _config_classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _config_classes(part)


def _explain_one(error: dict[str, Any], known: list[str]) -> str:
    location = _location(error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        if location in known:  # of another member of the union
            return f"{location}: {error['loc'][-2]} has no such field"
        return f"{location}: unknown field{did_you_mean(location, known)}"
    if error["type"] == "missing":
        return f"{location}: required, but missing"
    came = "" if isinstance(error["input"], dict) else f" (got {error['input']!r})"
    return f"{location}: {message}{came}" if location else message


def _location(parts: Sequence[str | int]) -> str:
    """Returns the dotted path of a field, without the tags of unions that pydantic puts into it."""
    kept: list[str] = []
    for before, part in zip(("", *parts), parts, strict=False):
        is_tag = part in _AXES or part in _TAGGED.get(str(before), ())
        # A branch axis is a tag and then a field of the same name.
        if not is_tag and not part == before == "branch":
            kept.append(str(part))
    return ".".join(kept)


def did_you_mean(name: str, known: list[str]) -> str:
    """Returns "; did you mean ...?" with the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
