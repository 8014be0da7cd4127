"""The one door for every change to a config: dotted paths and new values, validated as a whole."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import yaml
from pydantic import ValidationError

from models.config import Config
from search.errors import UserError, did_you_mean, explain

C = TypeVar("C", bound=Config)


def with_overrides(config: C, overrides: Mapping[str, Any]) -> C:
    """Returns `config` with each dotted path replaced, validated again as a whole.

    Raises:
        KeyError: If a path does not exist; the message names the nearest path that does.
        pydantic.ValidationError: If the new values break the schema.
    """
    tree = config.model_dump(mode="json")
    for path, value in overrides.items():
        found = _find(tree, path)
        if found is None:
            hint = did_you_mean(path, list(paths(tree)))
            raise KeyError(f"{type(config).__name__} has no field {path!r}{hint}")
        node, leaf = found
        node[leaf] = value
    return type(config).model_validate(tree)


def override_or_refuse(config: C, overrides: Mapping[str, Any], *, what: str) -> C:
    """Does as `with_overrides`, for overrides that a user typed.

    Raises:
        UserError: If a path does not exist or a value breaks a rule.
    """
    try:
        return with_overrides(config, overrides)
    except KeyError as error:
        raise UserError(str(error.args[0])) from error
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in explain(error, type(config)))
        changed = f" with {', '.join(overrides)} overridden" if overrides else ""
        raise UserError(f"{what}{changed} is not valid:\n{lines}") from error


def value_at(config: Config, path: str) -> Any:
    """Returns the JSON value at a dotted path that exists."""
    found = _find(config.model_dump(mode="json"), path)
    assert found is not None, path
    node, leaf = found
    return node[leaf]


def _find(tree: dict[str, Any], path: str) -> tuple[dict[str, Any], str] | None:
    """Finds the mapping that holds the last key of `path`; keys may hold dots themselves."""
    if path in tree:
        return tree, path
    for key, node in tree.items():
        if path.startswith(f"{key}.") and isinstance(node, dict):
            found = _find(cast(dict[str, Any], node), path[len(key) + 1 :])
            if found is not None:
                return found
    return None


def paths(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted path of every node of a nested mapping."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """Turns `a.b=value` arguments into a mapping; values are read as YAML.

    Raises:
        UserError: If an argument has no `=` or its value is not YAML.
    """
    overrides: dict[str, Any] = {}
    for argument in arguments:
        path, equals, text = argument.partition("=")
        if not equals or not path:
            raise UserError(f"an override must read dotted.path=value, got {argument!r}")
        try:
            overrides[path] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"the value of override {path!r} is not YAML: {text!r}") from error
    return overrides
