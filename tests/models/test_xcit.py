"""Cross-covariance transformers against timm's own, and what a config changes in them."""

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

from models.xcit import build_xcit


def build(*, resolution: int = 8, **changes: Any) -> nn.Module:
    return build_xcit(tiny("xcit", **changes), num_classes=3, resolution=resolution)


def build_timm(**options: Any) -> nn.Module:
    """A nano XCiT with the tiny config's depths, twice as wide: four doublings need it."""
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "cls_attn_layers": 1, **options}
    return timm.create_model("xcit_nano_12_p16_224", num_classes=3, img_size=32, **options)


def images(n: int, *, side: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("patch_size", "convs"), [(16, 4), (8, 3)])
@pytest.mark.parametrize("tokens_norm", [True, False])
def test_the_published_xcit_computes_what_timm_computes(
    patch_size: int, convs: int, tokens_norm: bool
) -> None:
    theirs = build_timm(patch_size=patch_size, tokens_norm=tokens_norm)
    changes = {"patch_size": patch_size, "stem_convs": convs, "tokens_norm": tokens_norm}
    ours = build(resolution=32, width=32, **changes).eval()
    x = images(2, side=32)
    theirs(x)  # moves the statistics of batch norm

    ours.load_state_dict(theirs.eval().state_dict())

    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("patch_size", "strides"),
    [
        # Debenedetti et al. 2023, with three kept sizes at 2, where their code has four.
        (16, [2, 2, 2, 2]),
        (8, [1, 2, 2, 2]),
        (4, [1, 1, 2, 2]),
        (2, [1, 1, 1, 2]),
    ],
)
def test_smaller_patches_keep_the_size_in_the_first_convolutions(
    patch_size: int, strides: list[int]
) -> None:
    theirs = build_timm()
    ours = build(patch_size=patch_size, stem_convs=4, width=32, resolution=32)

    ours.load_state_dict(theirs.state_dict())  # so weights for patches of 16 fit
    stem = ours.get_submodule("patch_embed")
    tokens, shape = stem(images(1, side=32))

    assert [m.stride[0] for m in stem.modules() if isinstance(m, nn.Conv2d)] == strides
    assert shape == (32 // patch_size, 32 // patch_size)
    assert tokens.shape == (1, (32 // patch_size) ** 2, 32)


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ["Sequential", "GELU", "Sequential"]),
        ({"stem_convs": 3}, ["Sequential", "GELU", "Sequential", "GELU", "Sequential"]),
        ({"stem_act": "relu"}, ["Sequential", "ReLU", "Sequential"]),
        ({"stem_projection": True}, ["Sequential", "GELU", "Sequential", "GELU", "Sequential"]),
        ({"stem": "patch"}, ["Sequential"]),
    ],
)
def test_a_stem_ends_without_an_activation(changes: dict[str, Any], kinds: list[str]) -> None:
    stem = build(**changes).get_submodule("patch_embed.proj")

    assert [type(layer).__name__ for layer in stem.children()] == kinds


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"stem_norm": "bn"}, ["0.0.weight", "0.1.weight", "0.1.bias"]),
        ({"stem_norm": "ln"}, ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"]),
        ({"stem_norm": "none"}, ["0.0.weight", "0.0.bias"]),
    ],
)
@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_each_convolution_and_its_norm_form_a_pair(
    stem: str, changes: dict[str, Any], names: list[str]
) -> None:
    proj = build(stem=stem, **changes).get_submodule("patch_embed.proj")

    assert [name for name, _ in proj.named_parameters() if name.startswith("0")] == names


def test_the_projection_of_a_stem_has_no_norm() -> None:
    proj = build(stem_widths=(6, 10), stem_projection=True).get_submodule("patch_embed.proj")

    shapes = {name: list(p.shape) for name, p in proj.named_parameters() if name[0] == "4"}

    assert shapes == {"4.0.weight": [16, 10, 1, 1], "4.0.bias": [16]}


@pytest.mark.parametrize("patch_size", [1, 3, 8])
def test_each_patch_of_a_patch_stem_gives_a_token(patch_size: int) -> None:
    network = build(stem="patch", patch_size=patch_size, resolution=24, depth=1)

    tokens, shape = network.get_submodule("patch_embed")(images(1, side=24))

    assert shape == (24 // patch_size, 24 // patch_size)
    assert tokens.shape == (1, (24 // patch_size) ** 2, 16)


def test_tokens_are_in_the_order_of_rows() -> None:
    network = build(stem="patch", patch_size=1, stem_norm="none")
    x = images(1, side=8)

    tokens, _ = network.get_submodule("patch_embed")(x)
    pixels = network.get_submodule("patch_embed.proj")(x)

    torch.testing.assert_close(tokens[0, 8 * 2 + 5], pixels[0, :, 2, 5])


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_images_that_are_no_multiple_of_the_patch_are_refused(stem: str) -> None:
    words = r"multiple of patch_size \(4\), got 10; take another patch_size or resolution"

    with pytest.raises(ValueError, match=words):
        build(stem=stem, resolution=10)


def test_norm_and_activation_of_the_blocks_are_those_of_the_config() -> None:
    network = build(norm="rms", act="silu", stem="patch", stem_norm="none")

    kinds = {type(m) for m in network.modules()}

    assert {RmsNorm, nn.SiLU} <= kinds
    assert not any(issubclass(kind, nn.LayerNorm | nn.GELU) for kind in kinds)


def test_drop_path_is_the_same_in_all_blocks_but_those_of_the_class() -> None:
    network = build(depth=3, class_depth=2, drop_path=0.2)

    rates = {name: m.drop_prob for name, m in network.named_modules() if isinstance(m, DropPath)}

    assert set(rates.values()) == {0.2}
    assert {name.partition(".")[0] for name in rates} == {"blocks"}
    assert len(rates) == 3 * 3


def test_head_dropout_is_before_the_last_layer_alone() -> None:
    network = build(head_dropout=0.3)

    rates = {name: m.p for name, m in network.named_modules() if isinstance(m, nn.Dropout)}

    assert rates.pop("head_drop") == 0.3
    assert not any(rates.values())


def test_layer_scale_starts_as_the_config_says_in_all_blocks() -> None:
    network = build(layer_scale=0.5, depth=2, class_depth=3)

    gammas = [p for name, p in network.named_parameters() if "gamma" in name]

    assert len(gammas) == 3 * 2 + 2 * 3
    assert all((gamma == 0.5).all() for gamma in gammas)


def test_mlp_ratio_sets_the_hidden_width() -> None:
    assert build(mlp_ratio=2.0).get_parameter("blocks.0.mlp.fc1.weight").shape == (32, 16)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_layer_decay_counts_the_stem_as_the_lowest_layer(stem: str) -> None:
    network = build(stem=stem, depth=3, class_depth=1)
    names = {id(p): name for name, p in network.named_parameters()}

    optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05, layer_decay=0.5)
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}

    # Layers: the stem, three blocks, one of the class, and the head with the norm before it.
    assert {groups[name]["lr_scale"] for name in groups if "patch_embed" in name} == {0.5**5}
    assert groups["cls_token"]["lr_scale"] == 0.5**5
    assert groups["blocks.2.mlp.fc1.weight"]["lr_scale"] == 0.5**2
    assert groups["cls_attn_blocks.0.mlp.fc1.weight"]["lr_scale"] == 0.5
    assert groups["head.weight"]["lr_scale"] == 1


def test_positions_and_class_token_do_not_decay() -> None:
    network = build()
    names = {id(p): name for name, p in network.named_parameters()}

    optimizer = create_optimizer_v2(network, "adamw", lr=0.1, weight_decay=0.05)
    decay = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}

    assert decay["pos_embed.token_projection.weight"] == decay["cls_token"] == 0
    assert decay["patch_embed.proj.0.1.weight"] == 0
    assert decay["patch_embed.proj.0.0.weight"] == 0.05


def test_gradients_are_the_same_with_checkpointing() -> None:
    network = build().eval()
    enable: Callable[[bool], None] = network.set_grad_checkpointing  # pyright: ignore

    def gradient() -> Tensor:
        x = images(2, side=8).requires_grad_()
        return torch.autograd.grad(network(x).square().sum(), x)[0]

    plain = gradient()
    enable(True)

    torch.testing.assert_close(gradient(), plain)
