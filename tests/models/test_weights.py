"""Weights from elsewhere: what fits is bit-equal, what may differ is named, the rest is refused."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from family_factory import tiny
from timm.layers import (
    resample_abs_pos_embed,  # pyright: ignore[reportPrivateImportUsage]
    resample_patch_embed,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor, nn

from models.registry import build_model
from models.weights import Difference, Report, describe, load_weights

FAMILIES = ["convnext", "resnet", "vit", "xcit", "timm"]


def build(
    family: str, *, seed: int = 2, num_classes: int = 3, resolution: int = 8, **changes: Any
) -> nn.Module:
    torch.manual_seed(seed)
    config = tiny(family, **changes)
    return build_model(config, num_classes=num_classes, resolution=resolution).eval()


def state_of(family: str, **changes: Any) -> dict[str, Tensor]:
    """Returns the state of a network with random weights in every layer."""
    return randomized(build(family, seed=1, **changes).get_submodule("network").state_dict())


def randomized(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.rand(t.shape, generator=generator) + 0.5 if t.is_floating_point() else t
        for name, t in state.items()
    }


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in model.get_submodule("network").state_dict().items()}


def assert_equal(model: nn.Module, state: Mapping[str, Tensor], names: set[str]) -> None:
    mine = tensors(model)
    assert names
    for name in names:
        assert torch.equal(mine[name], state[name]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_the_same_model_are_copied_bit_for_bit(family: str) -> None:
    state, model = state_of(family), build(family)

    report = load_weights(model, state, allow=())

    assert_equal(model, state, set(state))
    assert set(report.matched) == set(state)
    assert (report.adapted, report.random, report.unused) == ({}, (), ())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_for_other_classes_stays_random_and_all_else_is_equal(family: str) -> None:
    state, model = state_of(family, num_classes=5), build(family)
    before = tensors(model)

    report = load_weights(model, state, allow={"head"})

    assert len(report.random) == 2
    assert all(name.rpartition(".")[0] in ("head", "head.fc", "fc") for name in report.random)
    assert_equal(model, before, set(report.random))
    assert_equal(model, state, set(state) - set(report.random))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_for_as_many_classes_is_loaded_also_where_it_might_differ(family: str) -> None:
    state, model = state_of(family), build(family)

    assert load_weights(model, state, allow={"head"}).random == ()


OTHER_STEM: dict[str, dict[str, Any]] = {
    "convnext": {"stem": "patch"},
    "resnet": {"stem": "conv"},
    "vit": {"stem": "conv"},
    "xcit": {"stem": "patch", "stem_norm": "none"},
    "timm": {"stem": "conv", "name": "test_vit"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_swapped_stem_stays_random_and_all_else_is_bit_equal(family: str) -> None:
    name = {"name": "test_vit"} if family == "timm" else {}
    size = 32 if family == "timm" else 8
    state = state_of(family, resolution=size, **name)
    model = build(family, resolution=size, **OTHER_STEM[family])
    before = tensors(model)

    report = load_weights(model, state, allow={"stem"})

    stems = ("stem.", "patch_embed.", "conv1.", "bn1.")
    assert report.random
    assert all(name.startswith(stems) for name in (*report.random, *report.unused))
    assert_equal(model, before, set(report.random))
    assert_equal(model, state, set(before) - set(report.random))


def test_a_position_embedding_is_interpolated_and_all_else_is_bit_equal() -> None:
    state, model = state_of("vit", resolution=8), build("vit", resolution=16)

    report = load_weights(model, state, allow={"position"})

    expected = resample_abs_pos_embed(state["pos_embed"], new_size=[4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(tensors(model)["pos_embed"], expected)
    assert report.adapted == {"pos_embed": "grid 2 -> 4"}
    assert_equal(model, state, set(state) - {"pos_embed"})


@pytest.mark.parametrize(
    ("theirs", "ours"), [("positioned", "unpositioned"), ("unpositioned", "positioned")]
)
def test_the_class_token_takes_its_position_along(theirs: str, ours: str) -> None:
    """Both ways the network computes the same, because slot and token are only ever added."""
    source = build("vit", seed=1, class_token=theirs)
    state = randomized(tensors(source))
    load_weights(source, state, allow=())
    model = build("vit", class_token=ours)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    report = load_weights(model, state, allow={"position"})

    torch.testing.assert_close(model(x), source(x))
    assert "prefix slots" in report.adapted["pos_embed"]


def test_a_model_without_class_token_keeps_its_patches_in_place() -> None:
    state = state_of("vit", class_token="none", resolution=8)
    model = build("vit", class_token="none", resolution=16)

    load_weights(model, state, allow={"position"})

    expected = resample_abs_pos_embed(state["pos_embed"], new_size=[4, 4], num_prefix_tokens=0)
    torch.testing.assert_close(tensors(model)["pos_embed"], expected)


def test_a_patchwise_convolution_is_resampled_to_another_patch_size() -> None:
    state, model = state_of("vit", patch_size=4), build("vit", patch_size=2)

    report = load_weights(model, state, allow={"stem", "position"})

    expected = resample_patch_embed(state["patch_embed.proj.weight"], [2, 2])
    torch.testing.assert_close(tensors(model)["patch_embed.proj.weight"], expected)
    assert torch.equal(tensors(model)["patch_embed.proj.bias"], state["patch_embed.proj.bias"])
    assert report.adapted == {
        "patch_embed.proj.weight": "patch 4 -> 2",
        "pos_embed": "grid 2 -> 4",
    }
    assert report.random == report.unused == ()


def test_a_smaller_first_kernel_of_a_resnet_is_another_stem() -> None:
    state, model = state_of("resnet", stem_stride=4), build("resnet", stem_stride=1)

    report = load_weights(model, state, allow={"stem"})

    assert {name.partition(".")[0] for name in report.random} == {"conv1", "bn1"}


@pytest.mark.parametrize("prefix", ["module.", "network.", "module.base_model.model."])
def test_prefixes_come_off_here_too(prefix: str) -> None:
    state, model = state_of("convnext"), build("convnext")

    load_weights(model, {prefix + name: t for name, t in state.items()}, allow=())

    assert_equal(model, state, set(state))


def test_half_precision_is_widened() -> None:
    state, model = state_of("convnext"), build("convnext")

    load_weights(model, {name: t.half() for name, t in state.items()}, allow=())

    assert tensors(model)["head.fc.weight"].dtype == torch.float32
    torch.testing.assert_close(
        tensors(model)["head.fc.weight"], state["head.fc.weight"].half().float()
    )


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], set[Difference], str]] = [
    (
        "convnext",
        {"num_classes": 5},
        {},
        {"stem", "position"},
        r"but for position, stem: head.fc.bias is \(5,\) there, \(3,\) in the model; head.fc.weight"
        r".* in the model; allow a difference in head, position or stem, or build the model",
    ),
    ("convnext", {"widths": [8, 32]}, {}, {"head", "stem"}, "and 1[0-9] more; allow"),
    ("convnext", {}, {"stem": "patch"}, {"head"}, "stem.0.weight is .* there"),
    ("convnext", {}, {"layer_scale": 0.1}, {"head"}, "gamma is in the model but not there"),
    ("convnext", {"layer_scale": 0.1}, {}, {"head"}, "gamma is there but not in the model"),
    ("convnext", {"depths": [2, 2]}, {}, {"head"}, r"but for head: stages.0.blocks.1.* is there"),
    ("vit", {"resolution": 16}, {}, set(), r"but for nothing: pos_embed is \(1, 17, 16\) there"),
    ("vit", {}, {"class_token": "none"}, {"position"}, "cls_token is there but not in the model"),
    ("vit", {"width": 32, "num_classes": 5}, {}, {"head"}, "and 26 more; allow"),
    ("vit", {}, {"patch_size": 2}, {"position"}, "patch_embed.proj.weight is"),
]


@pytest.mark.parametrize(("family", "theirs", "ours", "allow", "words"), REFUSED)
def test_any_other_difference_is_refused_and_nothing_is_loaded(
    family: str,
    theirs: dict[str, Any],
    ours: dict[str, Any],
    allow: set[Difference],
    words: str,
) -> None:
    state, model = state_of(family, **theirs), build(family, **ours)
    before = tensors(model)

    with pytest.raises(ValueError, match=words) as caught:
        load_weights(model, state, allow=allow)

    assert str(caught.value).count(";") <= 5
    assert_equal(model, before, set(before))


def test_the_report_is_one_line() -> None:
    report = Report(
        matched=("a", "b"),
        adapted={"pos_embed": "grid 2 -> 4"},
        random=tuple(f"head.{i}" for i in range(7)),
        unused=(),
    )

    assert describe(report) == (
        "matched=2 adapted=1 (pos_embed: grid 2 -> 4) "
        "random=7 (head.0, head.1, head.2, head.3, head.4, ...) unused=0"
    )
