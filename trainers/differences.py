"""Where two configs differ. Light: no torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from models.config import Config


def differing_paths(saved: Config, asked: Config) -> list[str]:
    """Spells out each dotted path at which two configs differ, with both values."""
    left = dict(_leaves(saved.model_dump(mode="json")))
    right = dict(_leaves(asked.model_dump(mode="json")))
    return [
        f"{path} is {left.get(path, 'absent')!r} there, {right.get(path, 'absent')!r} here"
        for path in sorted({*left, *right})
        if left.get(path, "absent") != right.get(path, "absent")
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
