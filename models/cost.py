"""What a model costs, without its weights: parameters and multiply-adds of a forward pass."""

from dataclasses import dataclass

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.config import ModelConfig, TimmConfig
from models.registry import build_model

TIMM_REFUSALS = (AssertionError, RuntimeError, ZeroDivisionError)
"""What models of timm raise, when built or in the forward pass, for images they cannot take."""


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """The usual two measures of size."""

    params_m: float
    """Parameters, in millions."""
    gmacs: float
    """Multiply-adds of convolutions, linear layers and attention for one image, in 1e9."""


def cost(config: ModelConfig, *, num_classes: int, resolution: int) -> ModelCost:
    """Counts on the meta device: no weight is allocated and no number is drawn.

    Raises:
        ValueError: As `build_model`, and if a model of timm cannot take images of this resolution.
    """
    try:
        return _count(config, num_classes=num_classes, resolution=resolution)
    except TIMM_REFUSALS as error:
        if not isinstance(config, TimmConfig):
            raise
        raise ValueError(_refusal(config.name, resolution, error)) from error


def _count(config: ModelConfig, *, num_classes: int, resolution: int) -> ModelCost:
    with torch.device("meta"):
        model = build_model(config, num_classes=num_classes, resolution=resolution).eval()
        x = torch.empty(1, 3, resolution, resolution)
    # The counter fails on a parameter that is handed to a module, as in cait and pit, if it needs
    # a gradient.
    model.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return ModelCost(
        params_m=sum(p.numel() for p in model.parameters()) / 1e6,
        gmacs=counter.get_total_flops() / 2 / 1e9,  # torch counts a multiply-add as two
    )


def _refusal(name: str, resolution: int, error: Exception) -> str:
    known = timm.get_pretrained_cfg(name)
    size = f" (timm has it at {known.input_size[-1]})" if known is not None else ""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return (
        f"timm's {name} cannot take images of resolution {resolution}: {reason.rstrip('.')}; "
        f"take another resolution{size} or another model"
    )
