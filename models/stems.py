"""Stems: from pixels to the channels of the first stage. Both end with the same stride."""

from typing import Literal

from timm.layers import LayerNorm2d  # pyright: ignore[reportPrivateImportUsage]
from torch import nn


def patch_stem(width: int, *, stride: Literal[2, 4]) -> nn.Sequential:
    """One convolution with kernel = stride, then LayerNorm (Liu et al. 2022, arXiv:2201.03545)."""
    return nn.Sequential(
        nn.Conv2d(3, width, kernel_size=stride, stride=stride), LayerNorm2d(width, eps=1e-6)
    )


def conv_stem(width: int, *, stride: Literal[2, 4]) -> nn.Sequential:
    """Two 3x3 convolutions, each with LayerNorm and GELU (Singh et al. 2023, arXiv:2303.01870).

    The first has half the width and stride 2; the second has stride 2 as in the paper, or 1 when
    the stem's stride is 2.
    """
    return nn.Sequential(
        *_conv_norm_act(3, width // 2, stride=2),
        *_conv_norm_act(width // 2, width, stride=stride // 2),
    )


def _conv_norm_act(in_channels: int, out_channels: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1),
        LayerNorm2d(out_channels, eps=1e-6),
        nn.GELU(),
    ]
