"""Stems: strides, widths and shapes, and their parameters against published counts."""

from typing import Any, Literal

import pytest
import torch
from family_factory import tiny
from torch import nn

from models.stems import conv_stem, conv_strides, conv_widths, patch_stem

VIT_STEM = {"stem_convs": 4, "stem_widths": [48, 96, 192, 384], "stem_projection": True}


def stem_config(**changes: Any) -> Any:
    """A config whose first width is 8, unless the stem ends with other widths."""
    widths = changes.get("stem_widths")
    ends = 8 if widths is None or isinstance(widths, str) else widths[-1]
    return tiny("convnext", widths=[changes.pop("width", ends), 16], **changes)


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolutions(stem: nn.Sequential) -> list[nn.Conv2d]:
    return [m for m in stem if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_a_stem_divides_the_side_by_its_stride(stride: Literal[1, 2, 4, 8]) -> None:
    config = stem_config(stem_convs=3, stem_stride=stride, stem_widths="linear")
    x = torch.zeros(2, 3, 8, 8)

    patch = patch_stem(config, 8, stride=stride)(x)
    conv = conv_stem(config, 8, stride=stride, published_stride=4)(x)

    assert patch.shape == conv.shape == (2, 8, 8 // stride, 8 // stride)


@pytest.mark.parametrize(
    ("model", "width", "stride", "stem", "params_m"),
    [
        ("ConvNeXt-T and S", 96, 4, {"stem_convs": 2}, 0.043),
        ("ConvNeXt-B", 128, 4, {"stem_convs": 3, "stem_widths": "linear"}, 0.168),
        ("ConvNeXt-L", 192, 4, {"stem_convs": 3, "stem_widths": "linear"}, 0.377),
        ("ViT-S", 384, 16, VIT_STEM, 1.022),
        ("ViT-M", 512, 16, VIT_STEM, 1.071),
        ("ViT-B", 768, 16, VIT_STEM, 1.170),
    ],
)
def test_conv_stems_have_the_published_sizes(
    model: str, width: int, stride: int, stem: dict[str, Any], params_m: float
) -> None:
    config = stem_config(width=width, **stem)

    with torch.device("meta"):
        built = conv_stem(config, width, stride=stride, published_stride=stride)

    assert round(params(built) / 1e6, 3) == params_m, model  # Singh et al. 2023, code


@pytest.mark.parametrize(
    ("convs", "rule", "width", "widths"),
    [
        (2, "doubling", 96, (48, 96)),  # ConvNeXt-T and S
        (3, "linear", 128, (64, 96, 128)),  # ConvNeXt-B
        (3, "linear", 192, (96, 144, 192)),  # ConvNeXt-L
        (4, "doubling", 128, (16, 32, 64, 128)),  # XCiT-N12
        (1, "doubling", 96, (96,)),
        (1, "linear", 96, (96,)),
        (2, (5, 96), 96, (5, 96)),
    ],
)
def test_widths_follow_the_rule_of_the_papers(
    convs: int, rule: Any, width: int, widths: tuple[int, ...]
) -> None:
    config = stem_config(width=width, stem_convs=convs, stem_widths=rule, stem_stride=2)

    assert conv_widths(config, width) == widths


@pytest.mark.parametrize(
    ("convs", "published", "stride", "strides"),
    [
        (2, 4, 4, (2, 2)),  # ConvNeXt-T and S
        (3, 4, 4, (2, 2, 1)),  # ConvNeXt-B and L
        (4, 16, 16, (2, 2, 2, 2)),  # XCiT, and ViT + ConvStem
        (4, 16, 8, (1, 2, 2, 2)),  # Debenedetti et al. 2023, code, up to here
        (4, 16, 4, (1, 1, 2, 2)),
        (4, 16, 2, (1, 1, 1, 2)),
        (4, 16, 1, (1, 1, 1, 1)),
        (3, 4, 2, (1, 2, 1)),
        (4, 4, 8, (2, 2, 2, 1)),
        (1, 4, 2, (2,)),
    ],
)
def test_below_the_published_stride_the_first_convolutions_keep_the_size(
    convs: int, published: int, stride: int, strides: tuple[int, ...]
) -> None:
    assert conv_strides(convs, stride=stride, published_stride=published) == strides


def test_convolutions_are_three_by_three_of_the_widths_and_strides_above() -> None:
    config = stem_config(stem_convs=3, stem_widths=[4, 6, 8])

    built = convolutions(conv_stem(config, 8, stride=4, published_stride=4))

    assert [(m.kernel_size, m.padding) for m in built] == [((3, 3), (1, 1))] * 3
    assert [m.out_channels for m in built] == [4, 6, 8]
    assert [m.stride for m in built] == [(2, 2), (2, 2), (1, 1)]


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ["Conv2d", "LayerNorm2d", "GELU"] * 2),
        ({"stem_norm": "bn", "stem_act": "relu"}, ["Conv2d", "BatchNorm2d", "ReLU"] * 2),
        ({"stem_norm": "none", "stem_act": "silu"}, ["Conv2d", "Identity", "SiLU"] * 2),
        ({"stem_projection": True}, [*["Conv2d", "LayerNorm2d", "GELU"] * 2, "Conv2d"]),
    ],
)
def test_norm_then_activation_follow_each_convolution(
    changes: dict[str, Any], kinds: list[str]
) -> None:
    stem = conv_stem(stem_config(**changes), 8, stride=4, published_stride=4)

    assert [type(m).__name__ for m in stem] == kinds


def test_the_last_activation_can_be_left_out() -> None:
    stem = conv_stem(stem_config(), 8, stride=4, published_stride=4, last_act=False)

    assert [type(m).__name__ for m in stem][-2:] == ["Conv2d", "LayerNorm2d"]


@pytest.mark.parametrize(("norm", "has_bias"), [("ln", True), ("bn", False), ("none", True)])
def test_batch_norm_replaces_the_bias(norm: str, has_bias: bool) -> None:
    config = stem_config(stem_norm=norm)

    stems = [
        patch_stem(config, 8, stride=4),
        conv_stem(config, 8, stride=4, published_stride=4),
    ]

    biases = [m.bias is not None for stem in stems for m in convolutions(stem)]  # pyright: ignore[reportUnnecessaryComparison]
    assert biases == [has_bias] * 3


def test_a_projection_to_the_width_of_the_network_is_one_by_one() -> None:
    config = stem_config(width=10, stem_widths=[4, 6], stem_projection=True)

    last = convolutions(conv_stem(config, 10, stride=4, published_stride=4))[-1]

    assert (last.in_channels, last.out_channels, last.kernel_size) == (6, 10, (1, 1))
