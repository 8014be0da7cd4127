"""Networks of other sizes inherit what overlaps, element by element."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from family_factory import tiny
from timm.layers import (
    resample_abs_pos_embed,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor, nn

from models.inherit import inherit
from models.registry import build_model
from models.weights import Difference

State = dict[str, Tensor]


def build(
    family: str, *, seed: int = 2, num_classes: int = 3, resolution: int = 8, **changes: Any
) -> nn.Module:
    torch.manual_seed(seed)
    config = tiny(family, **changes)
    return build_model(config, num_classes=num_classes, resolution=resolution).eval()


def tensors(model: nn.Module) -> State:
    return {n: t.clone() for n, t in model.get_submodule("network").state_dict().items()}


def state_of(family: str, **changes: Any) -> State:
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(t.shape, generator=generator) + 0.5 if t.is_floating_point() else t
        for name, t in tensors(build(family, seed=1, **changes)).items()
    }


def assert_equal(left: Mapping[str, Tensor], right: Mapping[str, Tensor], names: set[str]) -> None:
    assert names
    for name in names:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit", "timm"])
def test_the_same_network_inherits_everything(family: str) -> None:
    state, model = state_of(family), build(family)

    report = inherit(model, state, allow=())

    assert_equal(tensors(model), state, set(state))
    assert set(report.matched) == set(state)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("convnext", {"stem": "patch"}),
        ("convnext", {"stem_convs": 3, "stem_widths": "linear"}),
        ("resnet", {"stem": "conv"}),
        ("vit", {"stem": "conv"}),
        ("xcit", {"stem": "patch"}),
    ],
)
def test_a_swapped_stem_keeps_every_other_weight(family: str, changes: dict[str, Any]) -> None:
    state, model = state_of(family), build(family, **changes)
    before = tensors(model)

    report = inherit(model, state, allow={"stem"})

    stem = {name for name in before if name.startswith(("stem.", "patch_embed.", "conv1.", "bn1."))}
    assert set(report.random) == stem
    assert_equal(tensors(model), before, stem)
    assert_equal(tensors(model), state, set(before) - stem)


def test_a_deeper_network_keeps_the_first_blocks_of_each_stage() -> None:
    state, model = state_of("convnext"), build("convnext", depths=[3, 2])
    before = tensors(model)

    report = inherit(model, state, allow=())

    new = {n for n in before if n.startswith(("stages.0.blocks.1.", "stages.0.blocks.2."))}
    assert set(report.random) == new
    assert_equal(tensors(model), before, new)
    assert_equal(tensors(model), state, set(state))


def test_a_shallower_network_leaves_the_last_blocks_out() -> None:
    state, model = state_of("vit"), build("vit", depth=1)

    report = inherit(model, state, allow=())

    assert all(name.startswith("blocks.1.") for name in report.unused)
    assert len(report.unused) == 12
    assert_equal(tensors(model), state, set(tensors(model)))


@pytest.mark.parametrize(("theirs", "ours"), [(16, 24), (24, 16)])
def test_another_width_keeps_the_leading_channels(theirs: int, ours: int) -> None:
    state = state_of("convnext", widths=[8, theirs])
    model = build("convnext", widths=[8, ours])
    before = tensors(model)

    report = inherit(model, state, allow=())

    name = "stages.1.blocks.0.mlp.fc1.weight"  # (4 * width, width)
    mine = tensors(model)[name]
    rows, columns = 4 * min(theirs, ours), min(theirs, ours)
    assert torch.equal(mine[:rows, :columns], state[name][:rows, :columns])
    assert torch.equal(mine[rows:], before[name][rows:])
    assert torch.equal(mine[:, columns:], before[name][:, columns:])
    assert report.adapted[name] == (
        f"what overlaps of {(4 * theirs, theirs)} in {(4 * ours, ours)}"
    )
    assert_equal(tensors(model), state, {n for n in state if n.startswith(("stem", "stages.0"))})


def test_a_wider_stem_of_the_same_kind_keeps_its_channels() -> None:
    state, model = state_of("convnext"), build("convnext", widths=[16, 16])

    inherit(model, state, allow=())

    mine = tensors(model)["stem.3.weight"]  # (16, 8, 3, 3), where there is (8, 4, 3, 3)
    assert torch.equal(mine[:8, :4], state["stem.3.weight"])


@pytest.mark.parametrize(("theirs", "ours"), [(3, 7), (7, 3)])
def test_kernels_of_another_size_are_aligned_at_their_centres(theirs: int, ours: int) -> None:
    state = state_of("convnext", kernel_size=theirs)
    model = build("convnext", kernel_size=ours)
    before = tensors(model)

    inherit(model, state, allow=())

    name = "stages.0.blocks.0.conv_dw.weight"
    large, small = (tensors(model)[name], state[name]) if ours > theirs else (state[name], None)
    small = tensors(model)[name] if small is None else small
    assert torch.equal(large[:, :, 2:5, 2:5], small)
    if ours > theirs:
        assert torch.equal(large[:, :, :2], before[name][:, :, :2])


@pytest.mark.parametrize("family", ["vit", "xcit"])
def test_queries_keys_and_values_are_widened_separately(family: str) -> None:
    state, model = state_of(family, width=16), build(family, width=24)

    inherit(model, state, allow=())

    for name in ("blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias"):
        mine = tensors(model)[name].unflatten(0, (3, 24))
        theirs = state[name].unflatten(0, (3, 16))
        kept = mine[:, :16, :16] if mine.ndim == 3 else mine[:, :16]
        assert torch.equal(kept, theirs)


def test_position_embeddings_are_interpolated_and_widened() -> None:
    state = state_of("vit", width=16, resolution=8)
    model = build("vit", width=24, resolution=16)
    before = tensors(model)["pos_embed"]

    report = inherit(model, state, allow={"position"})

    mine = tensors(model)["pos_embed"]
    resized = resample_abs_pos_embed(state["pos_embed"], new_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(mine[..., :16], resized)
    assert torch.equal(mine[..., 16:], before[..., 16:])
    assert report.adapted["pos_embed"] == (
        "grid 2 -> 4, what overlaps of (1, 17, 16) in (1, 17, 24)"
    )


def test_a_class_token_without_a_place_is_left_out() -> None:
    state, model = state_of("vit"), build("vit", class_token="none")

    report = inherit(model, state, allow={"position"})

    assert "cls_token" in report.unused
    assert torch.equal(tensors(model)["pos_embed"], state["pos_embed"][:, 1:])


def test_a_class_token_takes_its_position_along() -> None:
    state, model = state_of("vit"), build("vit", class_token="unpositioned")

    inherit(model, state, allow={"position"})

    expected = state["cls_token"] + state["pos_embed"][:, :1]
    assert torch.equal(tensors(model)["cls_token"], expected)


def test_a_head_of_the_same_classes_is_widened_and_one_of_others_stays_random() -> None:
    state = state_of("vit", width=16)
    same, other = build("vit", width=24), build("vit", width=16, num_classes=5)
    before = tensors(other)

    inherit(same, state, allow=())
    report = inherit(other, state, allow={"head"})

    assert torch.equal(tensors(same)["head.weight"][:, :16], state["head.weight"])
    assert set(report.random) == {"head.weight", "head.bias"} == set(report.unused)
    assert_equal(tensors(other), before, {"head.weight", "head.bias"})


def test_layers_of_other_dimensions_stay_random() -> None:
    """With batch norm, the MLPs of a ConvNeXt are 1x1 convolutions."""
    state, model = state_of("convnext"), build("convnext", norm="bn")

    report = inherit(model, state, allow=())

    assert "stages.0.blocks.0.mlp.fc1.weight" in report.random
    assert "stages.0.blocks.0.conv_dw.weight" in report.matched


def test_strangers_are_refused_and_nothing_is_loaded() -> None:
    model = build("convnext")
    before = tensors(model)

    with pytest.raises(ValueError, match=r"at least half .* got a.b, c, for 0 of its [0-9]+ t"):
        inherit(model, {"a.b": torch.ones(1), "c": torch.ones(2)}, allow=())
    assert_equal(tensors(model), before, set(before))


@pytest.mark.parametrize(("theirs", "ours"), [("vit", "xcit"), ("xcit", "vit")])
def test_another_family_is_refused_although_blocks_share_names_and_shapes(
    theirs: str, ours: str
) -> None:
    state, model = state_of(theirs), build(ours)
    before = tensors(model)

    with pytest.raises(ValueError, match=r"share at least half .*; take weights of the same famil"):
        inherit(model, state, allow={"head", "position", "stem"})
    assert_equal(tensors(model), before, set(before))


NOT_NAMED: list[tuple[str, dict[str, Any], dict[str, Any], Difference, str]] = [
    ("convnext", {"num_classes": 5}, {}, "head", r"head.fc.bias is \(5,\) there, \(3,\) in the"),
    ("convnext", {}, {"stem": "patch"}, "stem", "stem.3.bias is there but not in the model"),
    ("vit", {"patch_size": 2, "resolution": 4}, {}, "stem", "patch_embed.proj.weight is"),
    ("vit", {"resolution": 16}, {}, "position", r"pos_embed is \(1, 17, 16\) there"),
    ("vit", {}, {"class_token": "unpositioned"}, "position", r"pos_embed is \(1, 5, 16\) there"),
    (
        "vit",
        {"class_token": "unpositioned"},
        {"class_token": "none"},
        "position",
        "cls_token is there but not in the model",
    ),
]


@pytest.mark.parametrize(("family", "theirs", "ours", "kind", "words"), NOT_NAMED)
def test_another_size_allows_no_other_head_position_or_stem(
    family: str, theirs: dict[str, Any], ours: dict[str, Any], kind: Difference, words: str
) -> None:
    state, model = state_of(family, **theirs), build(family, **ours)
    before = tensors(model)
    others: set[Difference] = {"head", "position", "stem"}

    with pytest.raises(ValueError, match=rf"but for .*size.*: .*{words}"):
        inherit(model, state, allow=others - {kind})

    assert_equal(tensors(model), before, set(before))
    assert inherit(model, state, allow={kind}).matched
