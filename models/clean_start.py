"""The name of a clean training that several trials start from."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from models.config import AnyModelConfig

NOT_ARCHITECTURE = {"drop_path", "head_dropout"}
"""Fields of a model that change its training but no shape; the clean recipe has its own."""


def clean_start_key(architecture: AnyModelConfig, *, data: Any, recipe: Mapping[str, Any]) -> str:
    """Hashes what determines the weights at the end of a clean training.

    Args:
        architecture: The model; its `drop_path` and `head_dropout` are left out.
        data: What it is trained on, as JSON has it.
        recipe: How it is trained, as JSON has it.

    Returns:
        64 hexadecimal digits; two keys agree exactly when all three agree, in any order of fields.

    Raises:
        ValueError: If `data` or `recipe` holds what JSON cannot: NaN, objects, keys that are no
            text.
    """
    model = architecture.model_dump(mode="json", exclude=NOT_ARCHITECTURE)
    content = {"architecture": model, "data": data, "recipe": recipe}
    text = json.dumps(_canonical(content, ""), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, path: str) -> Any:
    """Returns `value` with one spelling for equal numbers, such as 1 and 1.0."""
    match value:
        case Mapping():
            return {_text(k, path): _canonical(v, f"{path}.{k}") for k, v in value.items()}
        case list() | tuple():
            return [_canonical(v, f"{path}[{i}]") for i, v in enumerate(value)]
        case float() if value.is_integer():
            return int(value)
        case float() if value - value == 0:  # neither NaN nor infinite
            return value
        case str() | bool() | int() | None:
            return value
        case _:
            raise ValueError(_refusal(path, repr(value)))


def _text(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise ValueError(_refusal(path, f"the key {key!r}"))
    return key


def _refusal(path: str, found: str) -> str:
    return (
        f"{path.lstrip('.')} of a clean start must be JSON with finite numbers and text as keys, "
        f"got {found}; pass the config's model_dump(mode='json')"
    )
