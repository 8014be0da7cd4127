"""Stems: strides and shapes, and their parameters counted by hand."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import nn

from models.stems import conv_stem, patch_stem


@pytest.mark.parametrize("build", [patch_stem, conv_stem])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_stem_divides_the_side_by_its_stride(
    build: Callable[..., nn.Sequential], stride: Literal[2, 4]
) -> None:
    assert build(8, stride=stride)(torch.zeros(2, 3, 8, 8)).shape == (
        2,
        8,
        8 // stride,
        8 // stride,
    )


def test_conv_stem_of_convnext_tiny_has_the_published_size() -> None:
    stem = conv_stem(96, stride=4)

    # 3 -> 48 -> 96 channels, 3x3 with bias, and two numbers a channel for each LayerNorm.
    expected = (3 * 48 * 9 + 48) + 2 * 48 + (48 * 96 * 9 + 96) + 2 * 96
    assert sum(p.numel() for p in stem.parameters()) == expected
    assert round(expected / 1e6, 3) == 0.043  # Singh et al. 2023, code


def test_both_convolutions_of_the_paper_have_stride_two() -> None:
    convolutions = [m for m in conv_stem(16, stride=4) if isinstance(m, nn.Conv2d)]

    assert [(m.stride, m.padding, m.out_channels) for m in convolutions] == [
        ((2, 2), (1, 1), 8),
        ((2, 2), (1, 1), 16),
    ]


def test_conv_stem_normalises_over_channels_before_gelu() -> None:
    kinds = [type(m).__name__ for m in conv_stem(16, stride=4)]

    assert kinds == ["Conv2d", "LayerNorm2d", "GELU"] * 2
