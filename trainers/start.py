"""The weights that a model begins with: a file's, timm's, a clean training's, or random ones."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from models.inherit import inherit
from models.layouts import read_state
from models.origin import check_origin, read_origin
from models.weights import Difference, describe, load_pretrained, load_weights
from trainers.config import TrialConfig


def load_start(model: nn.Module, config: TrialConfig, clean: Mapping[str, Tensor] | None) -> str:
    """Loads what `config.weights` says, or `clean`; returns what it was and how it fitted.

    Args:
        model: As `build_model` returns it; changed in place.
        clean: Weights of a clean training of the same model.

    Raises:
        ValueError: If the weights cannot be had, or differ by more than `config.weights.allow`.
    """
    weights = config.weights
    if clean is not None:
        model.load_state_dict(clean)
        return f"clean training, epochs={weights.clean_epochs}"
    if weights.clean_epochs:
        raise ValueError("weights.clean_epochs needs the weights of the clean training")
    allow: set[Difference] = {kind for kind in weights.allow if kind != "size"}
    if weights.pretrained:
        return f"timm: {describe(load_pretrained(model, config.model, allow=allow))}"
    if not weights.init:
        return "random weights"
    path = Path(weights.init)
    state = read_state(path, weights=weights.entry)
    origin = read_origin(path, weights=weights.entry)
    check_origin(str(path), origin, config.model, allow=allow)
    if "size" in weights.allow:
        report = inherit(model, state, allow=allow)
    else:
        report = load_weights(model, state, allow=allow)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{path} (SHA-256 {digest}): {describe(report)}"
