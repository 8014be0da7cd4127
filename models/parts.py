"""Parts that families share, by the names that configs use."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Literal

from timm.layers import (
    LayerNorm,  # pyright: ignore[reportPrivateImportUsage]
    LayerNorm2d,  # pyright: ignore[reportPrivateImportUsage]
    RmsNorm,  # pyright: ignore[reportPrivateImportUsage]
    SEModule,  # pyright: ignore[reportPrivateImportUsage]
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


def squeeze_excitation(share: float) -> Callable[[int], nn.Module]:
    """Returns what builds a gate for so many channels (Hu et al. 2018, arXiv:1709.01507).

    Args:
        share: Hidden width over channels; rounded to the nearest width, at least 1.
    """
    return partial(SEModule, rd_ratio=share, rd_divisor=1)


def drop_path_rates(highest: float, *, depths: tuple[int, ...]) -> list[list[float]]:
    """Returns the rate of each block of each stage: linear in depth, from 0 to `highest`."""
    blocks = sum(depths)
    rates = [highest * i / max(blocks - 1, 1) for i in range(blocks)]
    ends = accumulate(depths)
    return [rates[end - depth : end] for depth, end in zip(depths, ends, strict=True)]


def check_resolution(resolution: int, *, stages: int, stem_stride: int) -> None:
    """Raises ValueError if no pixel is left after stages of which all but the first halve."""
    total_stride = stem_stride * 2 ** (stages - 1)
    if resolution < total_stride:
        raise ValueError(
            f"{stages} stages after stem_stride {stem_stride} need resolution >= {total_stride}, "
            f"got {resolution}; take fewer stages or a smaller stem_stride"
        )
