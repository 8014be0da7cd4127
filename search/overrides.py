"""The one door for every change to a config: dotted paths and new values, validated as a whole."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import yaml

from models.config import Config
from search.errors import UserError, did_you_mean

C = TypeVar("C", bound=Config)


def with_overrides(config: C, overrides: Mapping[str, Any]) -> C:
    """Returns `config` with each dotted path replaced, validated again as a whole.

    Raises:
        KeyError: If a path does not exist; the message names the nearest path that does.
        pydantic.ValidationError: If the new values break the schema.
    """
    tree = config.model_dump(mode="json")
    for path, value in overrides.items():
        *parents, leaf = path.split(".")
        node: Any = tree
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or leaf not in node:
            hint = did_you_mean(path, list(paths(tree)))
            raise KeyError(f"{type(config).__name__} has no field {path!r}{hint}")
        node[leaf] = value
    return type(config).model_validate(tree)


def value_at(config: Config, path: str) -> Any:
    """Returns the JSON value at a dotted path that exists."""
    node: Any = config.model_dump(mode="json")
    for key in path.split("."):
        node = node[key]
    return node


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
