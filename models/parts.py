"""Norms and activations by the names that configs use."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from timm.layers import (
    LayerNorm,  # pyright: ignore[reportPrivateImportUsage]
    LayerNorm2d,  # pyright: ignore[reportPrivateImportUsage]
    RmsNorm,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import nn

from models.config import Activation

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
}

NORMS_2D: dict[Literal["ln", "bn", "none"], Callable[[int], nn.Module]] = {
    "ln": partial(LayerNorm2d, eps=1e-6),
    "bn": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}
"""Over the channels of (batch, channels, h, w)."""

TOKEN_NORMS: dict[Literal["ln", "rms"], Callable[[int], nn.Module]] = {
    "ln": partial(LayerNorm, eps=1e-6),
    "rms": partial(RmsNorm, eps=1e-6),
}
"""Over the last dimension."""
