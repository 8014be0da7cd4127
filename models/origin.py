"""What a file of weights says of the model that they belong to: how it normalises, if it blurs.

Names and shapes of tensors say neither. Our files do: safetensors in their metadata, a checkpoint
in its config. Singh et al. and Debenedetti et al. keep it in what they wrap around a network.
"""

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from models.config import AnyModelConfig
from models.normalize import MEAN_STD
from models.weight_files import PREFIXES, read_file, uncompiled

_STATISTIC = re.compile(
    rf"(?:{'|'.join(re.escape(prefix) for prefix in PREFIXES)})*(?:normalize\.)?(mean|std)"
)
_ATTACKED = re.compile(r"(module\.)?base_model\.")
"""How all names of a file of Singh et al. begin."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a file says; None where it says nothing."""

    mean_std: tuple[Sequence[float], Sequence[float]] | None
    blur_pool: bool | None


def read_origin(path: Path, *, weights: Literal["scored", "raw"]) -> Origin:
    """Reads what a file says of the model of its weights; arguments and errors as `read_state`."""
    file = read_file(path)
    entry = file.entry(weights)
    said = {**_config_of_checkpoint(file.content), **file.metadata}
    mean_std = next(
        (pair for name, pair in MEAN_STD.items() if name == said.get("normalize")), None
    )
    blur_pool = str(said["blur_pool"]).lower() == "true" if "blur_pool" in said else None
    return Origin(
        mean_std=_statistics(entry) if mean_std is None else mean_std,
        blur_pool=_has_blur(entry) if blur_pool is None else blur_pool,
    )


def metadata(config: AnyModelConfig) -> dict[str, str]:
    """Returns what safetensors files are to say of a model, for `read_origin`."""
    return {"normalize": config.normalize, "blur_pool": str(config.blur_pool).lower()}


def check_origin(
    what: str, origin: Origin, config: AnyModelConfig, *, allow: Collection[str]
) -> None:
    """Raises ValueError if weights belong to a model that normalises or blurs otherwise.

    Args:
        what: Names the weights in the message.
        allow: With `normalize`, any normalisation will do.
    """
    if origin.mean_std is not None and "normalize" not in allow:
        _check_normalization(what, *origin.mean_std, config)
    if origin.blur_pool not in (None, config.blur_pool):
        theirs, ours = str(origin.blur_pool).lower(), str(config.blur_pool).lower()
        raise ValueError(
            f"{what} has weights for model.blur_pool={theirs}, not {ours}; "
            f"set model.blur_pool to {theirs}, or take other weights"
        )


def _check_normalization(
    what: str, mean: Sequence[float], std: Sequence[float], config: AnyModelConfig
) -> None:
    fitting = [
        scheme
        for scheme, pair in MEAN_STD.items()
        if all(
            math.isclose(a, b, abs_tol=1e-3)
            for a, b in zip((*mean, *std), (*pair[0], *pair[1]), strict=True)
        )
    ]
    if config.normalize in fitting:
        return
    means, stds = ([round(value, 4) for value in values] for values in (mean, std))
    way_out = f"set model.normalize to {fitting[0]}" if fitting else "no scheme of ours has these"
    raise ValueError(
        f"{what} has weights for mean {means} and std {stds}, not for model.normalize="
        f"{config.normalize}; {way_out}, allow a difference in normalize, or take other weights"
    )


def _config_of_checkpoint(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the model's part of the config in a checkpoint of ours, or nothing."""
    text = content.get("config")
    try:
        tree = json.loads(text) if isinstance(text, str) else None
    except json.JSONDecodeError:
        return {}  # the config of someone else's checkpoint
    model = tree.get("model") if isinstance(tree, dict) else None
    return model if isinstance(model, dict) else {}


def _statistics(entry: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]] | None:
    found: dict[str, list[float]] = {}
    for name, tensor in entry.items():
        match = _STATISTIC.fullmatch(uncompiled(name))
        if match and isinstance(tensor, Tensor) and tensor.numel() == 3:
            found[match[1]] = tensor.flatten().tolist()
    return (found["mean"], found["std"]) if len(found) == 2 else None


def _has_blur(entry: Mapping[str, Any]) -> bool | None:
    names = [uncompiled(name) for name in entry]
    if any(name.endswith(".blur_filter") for name in names):
        return True
    return False if names and all(_ATTACKED.match(name) for name in names) else None
