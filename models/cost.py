"""What a model costs, without its weights: parameters and multiply-adds of a forward pass."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.config import ModelConfig
from models.registry import build_model


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
        ValueError: As `build_model`.
    """
    with torch.device("meta"):
        model = build_model(config, num_classes=num_classes, resolution=resolution).eval()
        x = torch.empty(1, 3, resolution, resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return ModelCost(
        params_m=sum(p.numel() for p in model.parameters()) / 1e6,
        gmacs=counter.get_total_flops() / 2 / 1e9,  # torch counts a multiply-add as two
    )
