"""Stems: from pixels to the channels of the first stage or token.

Parameter names are those of timm where timm has the stem: a patch-wise convolution `0` and its norm
`1`, or `0`, `1`, `3`, `4`, ... for convolutions and norms, with the activations between them.
"""

from torch import nn

from models.config import StemConfig
from models.parts import ACTIVATIONS, NORMS_2D


def patch_stem(config: StemConfig, width: int, *, stride: int) -> nn.Sequential:
    """One convolution with kernel = stride, then the norm (Liu et al. 2022, arXiv:2201.03545)."""
    bias = config.stem_norm != "bn"
    return nn.Sequential(
        nn.Conv2d(3, width, kernel_size=stride, stride=stride, bias=bias),
        NORMS_2D[config.stem_norm](width),
    )


def conv_stem(
    config: StemConfig, width: int, *, stride: int, published_stride: int, last_act: bool = True
) -> nn.Sequential:
    """3x3 convolutions, each with norm and activation (Singh et al. 2023, arXiv:2303.01870).

    Args:
        width: Channels that the stem ends with.
        stride: Downsampling by the whole stem.
        published_stride: That of the family's paper; see `conv_strides`.
        last_act: Whether an activation follows the last 3x3 convolution.
    """
    layers: list[nn.Module] = []
    before = 3
    widths = conv_widths(config, width)
    strides = conv_strides(config.stem_convs, stride=stride, published_stride=published_stride)
    for after, step in zip(widths, strides, strict=True):
        bias = config.stem_norm != "bn"
        layers.append(nn.Conv2d(before, after, kernel_size=3, stride=step, padding=1, bias=bias))
        layers += [NORMS_2D[config.stem_norm](after), ACTIVATIONS[config.stem_act]()]
        before = after
    if not last_act:
        layers.pop()
    if config.stem_projection:
        layers.append(nn.Conv2d(before, width, kernel_size=1))
    return nn.Sequential(*layers)


def conv_widths(config: StemConfig, width: int) -> tuple[int, ...]:
    """Returns the channels of each 3x3 convolution of a stem that ends with `width`."""
    n = config.stem_convs
    if config.stem_widths == "doubling":
        return tuple(width >> (n - 1 - i) for i in range(n))
    if config.stem_widths == "linear":
        return tuple(width - round((n - 1 - i) * (width // 2) / max(n - 1, 1)) for i in range(n))
    return config.stem_widths


def conv_strides(convs: int, *, stride: int, published_stride: int) -> tuple[int, ...]:
    """Returns the stride of each convolution: 2 in the first ones, as many as `stride` asks for.

    Below the published stride the first of those keep the size instead, so that a network for small
    images computes what the published one does on enlarged ones (Debenedetti et al. 2023,
    arXiv:2209.07399; their code goes one too far at patch size 2).
    """
    halvings = stride.bit_length() - 1
    strided = max(halvings, min(convs, published_stride.bit_length() - 1))
    return (1,) * (strided - halvings) + (2,) * halvings + (1,) * (convs - strided)
