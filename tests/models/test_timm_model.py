"""Models of timm, with their own stems and with ours, and the mistakes a user can make."""

from typing import Any

import pytest
import timm
import torch
from family_factory import tiny
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
)
from torch import nn

from models.cost import forward_cost
from models.timm_model import build_timm

SWIN = "swin_tiny_patch4_window7_224"


def build(name: str, *, resolution: int = 32, **changes: Any) -> nn.Module:
    """Builds the shapes alone."""
    config = tiny("timm", name=name, **changes)
    with torch.device("meta"):
        return build_timm(config, num_classes=7, resolution=resolution)


def pixels(resolution: int) -> torch.Tensor:
    return torch.empty(2, 3, resolution, resolution, device="meta")


@pytest.mark.parametrize(
    ("name", "drop_path", "resolution"),
    [
        ("resnet18", 0.1, 32),
        ("vgg11", 0.0, 32),
        ("vit_tiny_patch16_224", 0.1, 32),
        (SWIN, 0.1, 32),
        ("cait_s12_224", 0.1, 32),
        ("poolformer_m12", 0.1, 32),
    ],
)
def test_models_take_the_resolution_and_the_classes(
    name: str, drop_path: float, resolution: int
) -> None:
    network = build(name, drop_path=drop_path, resolution=resolution)

    assert network(pixels(resolution)).shape == (2, 7)


def test_a_model_with_its_own_stem_computes_what_timm_computes() -> None:
    name = "vit_tiny_patch16_224"
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=3, img_size=16).eval()
    torch.manual_seed(0)
    ours = build_timm(tiny("timm", name=name), num_classes=3, resolution=16).eval()
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(ours(x), theirs(x))


def test_a_misspelt_name_gets_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=r"no model 'resnet81'; nearest: .*resnet18.*list_models"):
        build("resnet81")


def test_our_own_models_are_among_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"no model 'cait_s_12_224'; nearest: cait_s12_224,"):
        build("cait_s_12_224")


def test_drop_path_for_a_model_without_it_is_refused() -> None:
    with pytest.raises(ValueError, match="vgg11 has no stochastic depth; set drop_path to 0"):
        build("vgg11", drop_path=0.1)


def test_head_dropout_is_timms_drop_rate() -> None:
    network = build("vit_tiny_patch16_224", head_dropout=0.3)

    rates = {name: m.p for name, m in network.named_modules() if isinstance(m, nn.Dropout)}

    assert rates.pop("head_drop") == 0.3
    assert not any(rates.values())


def test_head_dropout_for_a_model_without_it_is_refused() -> None:
    words = "gemma4_vit_167m_enc has no dropout before its last layer; set head_dropout to 0"

    with pytest.raises(ValueError, match=words):
        build("gemma4_vit_167m_enc", head_dropout=0.1)


def test_a_rate_of_zero_is_not_told_to_a_model_that_lacks_it() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("gemma4_vit_167m_enc", num_classes=7)

    ours = build("gemma4_vit_167m_enc", head_dropout=0.0)

    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "stem", "widths", "width"),
    [
        ("vit_small_patch16_224", "patch_embed.proj", [48, 96, 192, 384], 384),
        ("cait_s12_224", "patch_embed.proj", [48, 96, 192, 384], 384),
        (SWIN, "patch_embed.proj", [48, 96], 96),
        ("poolformer_m12", "stem.conv", [48, 96], 96),  # 7x7, of stride 4
        ("convnext_atto", "stem.0", [20, 40], 40),
    ],
)
def test_a_conv_stem_halves_the_image_and_doubles_the_channels(
    name: str, stem: str, widths: list[int], width: int
) -> None:
    network = build(name, stem="conv")

    layers = list(network.get_submodule(stem).children())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]

    assert [type(layer).__name__ for layer in layers] == [
        *["Conv2d", "LayerNorm2d", "GELU"] * len(widths),
        "Conv2d",
    ]
    assert [c.out_channels for c in convolutions] == [*widths, width]
    assert [c.kernel_size[0] for c in convolutions] == [3] * len(widths) + [1]
    assert [c.stride[0] for c in convolutions] == [2] * len(widths) + [1]
    assert network(pixels(32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "cait_s12_224", SWIN, "poolformer_m12"])
def test_all_but_the_conv_stem_is_timms(name: str) -> None:
    own = {key: value.shape for key, value in build(name, stem="own").state_dict().items()}
    conv = {key: value.shape for key, value in build(name, stem="conv").state_dict().items()}

    changed = {key for key in own.keys() | conv.keys() if own.get(key) != conv.get(key)}

    assert all(key.startswith(("patch_embed.proj.", "stem.conv.")) for key in changed)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "cait_s12_224"])
def test_layer_decay_counts_a_conv_stem_as_the_lowest_layer(name: str) -> None:
    network = build(name, stem="conv")
    names = {id(p): name for name, p in network.named_parameters()}

    optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05, layer_decay=0.5)
    scales = {names[id(p)]: g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}

    stem = {scale for key, scale in scales.items() if key.startswith("patch_embed")}
    assert stem == {min(scales.values())} == {scales["pos_embed"]}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18", r"resnet18 lacks \(its first convolution is conv1: Conv2d\(3, 64, .*=own"),
        (
            "xcit_nano_12_p16_224",
            r"xcit_nano.* lacks .* is patch_embed.proj.0.0: .*; take stem=own",
        ),
        ("pit_ti_224", r"pit_ti_224 lacks .*size=\(16, 16\), stride=\(8, 8\)\)\); take stem=own"),
        ("sequencer2d_s", r"sequencer2d_s lacks .* stride=\(7, 7\)\)\); take stem=own"),
        ("tresnet_m", r"tresnet_m lacks \(it has no convolution on images\); take stem=own"),
    ],
)
def test_a_model_without_a_patch_embedding_to_replace_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(name, stem="conv", resolution=224)


def test_images_that_are_no_multiple_of_a_conv_stems_stride_are_refused() -> None:
    words = f"stem=conv of {SWIN} needs a resolution that is a multiple of 4, got 30; take another"

    with pytest.raises(ValueError, match=words):
        build(SWIN, stem="conv", resolution=30)


@pytest.mark.parametrize(
    ("name", "params_m", "gmacs"),
    [
        ("resnet18", 11.69, 1.82),  # timm's results-imagenet.csv
        ("vit_small_patch16_224", 22.05, 4.61),
        # Models that hand a parameter to a module.
        ("cait_xxs24_224", 11.96, 2.53),
        ("pit_ti_224", 4.85, 0.71),
    ],
)
def test_models_cost_what_timm_says(name: str, params_m: float, gmacs: float) -> None:
    measured = forward_cost(tiny("timm", name=name), num_classes=1000, resolution=224)

    assert round(measured.params_m, 2) == params_m
    assert measured.gmacs == pytest.approx(gmacs, rel=0.02)


@pytest.mark.parametrize(
    ("name", "resolution", "reason", "size"),
    [
        ("inception_v3", 32, "Kernel size can't be greater than actual input size", 299),
        ("vgg11", 16, "Output size is too small", 224),
        ("vit_tiny_patch16_224", 8, "Kernel size can't be greater than actual input size", 224),
        ("xcit_nano_12_p16_224", 20, "`patch_size` should divide image dimensions evenly", 224),
        ("maxvit_tiny_rw_224", 20, "integer modulo by zero", 224),
        ("halonet26t", 20, "AssertionError", 256),  # timm says nothing
    ],
)
def test_a_model_that_cannot_take_the_resolution_is_refused(
    name: str, resolution: int, reason: str, size: int
) -> None:
    with pytest.raises(ValueError, match="cannot take images") as caught:
        forward_cost(tiny("timm", name=name), num_classes=5, resolution=resolution)

    text = str(caught.value)
    assert text.startswith(f"timm's {name} cannot take images of resolution {resolution}: ")
    assert reason in text
    assert text.endswith(f"; take another resolution (timm has it at {size}) or another model")


def test_a_vit_with_its_own_stem_drops_the_pixels_beyond_its_last_whole_patch() -> None:
    config = tiny("timm", name="vit_tiny_patch16_224")

    measured = forward_cost(config, num_classes=5, resolution=20)

    assert measured.gmacs == forward_cost(config, num_classes=5, resolution=16).gmacs
