"""Vision transformers against timm's own, and what a config changes in them."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from family_factory import tiny
from timm.layers import (
    DropPath,  # pyright: ignore[reportPrivateImportUsage]
    RmsNorm,  # pyright: ignore[reportPrivateImportUsage]
)
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
)
from torch import Tensor, nn

from models.vit import build_vit

TIMM: dict[str, dict[str, Any]] = {
    "positioned": {},
    "unpositioned": {"no_embed_class": True, "init_values": 1e-6},  # as its deit3_*
    "none": {"class_token": False, "global_pool": "avg"},
}


def build(*, resolution: int = 8, **changes: Any) -> nn.Module:
    return build_vit(tiny("vit", **changes), num_classes=3, resolution=resolution)


def images(n: int) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("class_token", TIMM)
def test_a_patch_stem_vit_computes_what_timm_computes(class_token: str) -> None:
    theirs = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=3,
        img_size=8,
        patch_size=4,
        embed_dim=16,
        depth=2,
        num_heads=2,
        **TIMM[class_token],
    ).eval()
    layer_scale = TIMM[class_token].get("init_values", 0.0)
    ours = build(class_token=class_token, layer_scale=layer_scale).eval()

    ours.load_state_dict(theirs.state_dict())

    torch.testing.assert_close(ours(images(2)), theirs(images(2)))


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("patch_size", [1, 2, 8, 64])
def test_each_patch_gives_a_token(stem: str, patch_size: int) -> None:
    network = build(
        stem=stem,
        stem_convs=7,
        stem_widths=(16,) * 7,
        patch_size=patch_size,
        depth=1,
        resolution=64,
    )

    with torch.no_grad():
        tokens = network.get_submodule("patch_embed")(torch.zeros(1, 3, 64, 64))

    assert tokens.shape == (1, (64 // patch_size) ** 2, 16)


def test_patches_of_a_patch_stem_need_be_no_power_of_two() -> None:
    assert build(patch_size=3, resolution=9)(torch.zeros(1, 3, 9, 9)).shape == (1, 3)


def test_a_conv_stem_has_the_layers_of_singh_et_al() -> None:
    """After each 3x3 convolution norm and GELU, after the 1x1 nothing."""
    network = build(stem="conv", stem_norm="ln", stem_projection=True)

    kinds = [type(layer).__name__ for layer in network.get_submodule("patch_embed.proj").children()]
    after = type(network.get_submodule("patch_embed.norm")).__name__

    assert kinds == ["Conv2d", "LayerNorm2d", "GELU"] * 2 + ["Conv2d"]
    assert after == "Identity"


@pytest.mark.parametrize(
    ("patch_size", "strides"), [(16, [2, 2, 2, 2]), (4, [1, 1, 2, 2]), (1, [1, 1, 1, 1])]
)
def test_smaller_patches_keep_the_size_in_the_first_convolutions(
    patch_size: int, strides: list[int]
) -> None:
    network = build(stem="conv", stem_convs=4, width=32, patch_size=patch_size, resolution=16)

    stem = network.get_submodule("patch_embed.proj")

    assert [m.stride[0] for m in stem.modules() if isinstance(m, nn.Conv2d)] == strides


@pytest.mark.parametrize(
    ("stem_norm", "names"),
    [
        ("none", ["weight", "bias"]),
        ("ln", ["0.weight", "0.bias", "1.weight", "1.bias"]),
        ("bn", ["0.weight", "1.weight", "1.bias"]),
    ],
)
def test_the_norm_of_a_patch_stem_follows_its_convolution(stem_norm: str, names: list[str]) -> None:
    stem = build(stem_norm=stem_norm).get_submodule("patch_embed.proj")

    assert [name for name, _ in stem.named_parameters()] == names


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_images_that_are_no_multiple_of_the_patch_are_refused(stem: str) -> None:
    words = r"multiple of patch_size \(4\), got 10; take another patch_size or resolution"

    with pytest.raises(ValueError, match=words):
        build(stem=stem, resolution=10)


def test_norm_and_activation_are_those_of_the_config() -> None:
    network = build(norm="rms", act="silu")

    kinds = {type(m) for m in network.modules()}

    assert {RmsNorm, nn.SiLU} <= kinds
    assert not any(issubclass(kind, nn.LayerNorm | nn.GELU) for kind in kinds)


def test_drop_path_rises_linearly_with_depth() -> None:
    network = build(depth=3, drop_path=0.2)

    rates = [m.drop_prob for m in network.modules() if isinstance(m, DropPath)]

    assert rates == pytest.approx([0.1, 0.1, 0.2, 0.2])  # the first block has none


def test_head_dropout_is_before_the_last_layer_alone() -> None:
    network = build(head_dropout=0.3)

    rates = {name: m.p for name, m in network.named_modules() if isinstance(m, nn.Dropout)}

    assert rates.pop("head_drop") == 0.3
    assert not any(rates.values())


@pytest.mark.parametrize("layer_scale", [0.0, 0.5])
def test_layer_scale_of_zero_leaves_it_out(layer_scale: float) -> None:
    network = build(layer_scale=layer_scale)

    gammas = [p for name, p in network.named_parameters() if name.endswith("gamma")]

    assert len(gammas) == (4 if layer_scale else 0)  # two in each block
    assert all((gamma == layer_scale).all() for gamma in gammas)


def test_mlp_ratio_sets_the_hidden_width() -> None:
    assert build(mlp_ratio=2.0).get_parameter("blocks.0.mlp.fc1.weight").shape == (32, 16)


def test_layer_decay_counts_a_conv_stem_as_the_lowest_layer() -> None:
    network = build(stem="conv", stem_norm="bn", stem_projection=True, depth=3)
    names = {id(p): name for name, p in network.named_parameters()}

    optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05, layer_decay=0.5)
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}

    # Layers: the stem, three blocks, and the head with the norm before it.
    assert {groups[name]["lr_scale"] for name in groups if "patch_embed" in name} == {0.5**4}
    assert groups["pos_embed"]["lr_scale"] == 0.5**4
    assert groups["blocks.2.mlp.fc1.weight"]["lr_scale"] == 0.5
    assert groups["head.weight"]["lr_scale"] == 1


def test_positions_class_token_and_norms_of_the_stem_do_not_decay() -> None:
    network = build(stem="conv", stem_norm="ln")
    names = {id(p): name for name, p in network.named_parameters()}

    optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05)
    decay = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}

    assert decay["pos_embed"] == decay["cls_token"] == decay["patch_embed.proj.1.weight"] == 0
    assert decay["patch_embed.proj.0.weight"] == 0.05


def test_gradients_are_the_same_with_checkpointing() -> None:
    network = build(stem="conv")
    enable: Callable[[bool], None] = network.set_grad_checkpointing  # pyright: ignore

    def gradient() -> Tensor:
        x = images(2).requires_grad_()
        return torch.autograd.grad(network(x).square().sum(), x)[0]

    plain = gradient()
    enable(True)

    torch.testing.assert_close(gradient(), plain)
