"""The hub of timm: which weights belong to a config, and a hub that is out of reach."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import timm
import torch
from family_factory import tiny
from torch import Tensor, nn

from models.pretrained import TABLE, difference_to_timm, timm_name
from models.registry import build_model
from models.weights import load_pretrained


def build(
    family: str, *, seed: int = 2, num_classes: int = 3, resolution: int = 8, **changes: Any
) -> nn.Module:
    torch.manual_seed(seed)
    config = tiny(family, **changes)
    return build_model(config, num_classes=num_classes, resolution=resolution).eval()


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


SIZES: list[tuple[str, dict[str, Any], str]] = [
    (
        "convnext",
        {"depths": [3, 3, 9, 3], "widths": [96, 192, 384, 768], "layer_scale": 1e-6},
        "convnext_tiny.fb_in1k",
    ),
    (
        "resnet",
        {"stem_stride": 4, "depths": [3, 4, 6, 3], "widths": [64, 128, 256, 512]},
        "resnet50.a1_in1k",
    ),
    ("vit", {"patch_size": 16, "depth": 12, "width": 384, "heads": 6}, "deit_small"),
    (
        "vit",
        {
            "patch_size": 16,
            "depth": 12,
            "width": 512,
            "heads": 8,
            "class_token": "unpositioned",
            "layer_scale": 1e-6,
        },
        "deit3_medium",
    ),
    (
        "xcit",
        {
            "patch_size": 16,
            "stem_convs": 4,
            "depth": 12,
            "class_depth": 2,
            "width": 384,
            "heads": 8,
        },
        "xcit_small_12_p16",
    ),
]


@pytest.mark.parametrize(("family", "changes", "name"), SIZES)
def test_timms_model_of_the_table_has_the_shapes_of_ours(
    family: str, changes: dict[str, Any], name: str
) -> None:
    config = tiny(family, **changes)
    with torch.device("meta"):
        ours = build_model(config, num_classes=1000, resolution=224).get_submodule("network")
        theirs = timm.create_model(timm_name(config))

    assert timm_name(config).startswith(name)
    outside = {
        key: tensor.shape
        for key, tensor in ours.state_dict().items()
        if not key.startswith(("stem", "patch_embed", "conv1", "bn1"))
    }
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert outside.items() <= shapes.items()


def test_timm_has_weights_for_every_name_of_the_table() -> None:
    for name in [name for entries in TABLE.values() for name, _ in entries]:
        known = timm.get_pretrained_cfg(name)
        assert known is not None, name
        assert known.has_weights, name


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit"])
def test_a_size_that_timm_has_not_is_refused(family: str) -> None:
    with pytest.raises(
        ValueError, match=f"pretrained needs a {family} .* one of timm's: .*set init"
    ):
        load_pretrained(build(family), tiny(family), allow=())


def test_a_model_of_timm_without_weights_is_refused() -> None:
    config = tiny("timm", name="test_vit4")
    model = build("timm", name="test_vit4", resolution=160)

    with pytest.raises(ValueError, match="hub, which has none for test_vit4; set init to a file"):
        load_pretrained(model, config, allow=())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_hub_out_of_reach_is_said_at_once(hub: Path) -> None:
    config = tiny("timm", name="test_vit", normalize="half")
    model = build("timm", name="test_vit", resolution=160)
    before = tensors(model)
    start = time.monotonic()

    with pytest.raises(
        ValueError, match=r"weights of test_vit must come .* elsewhere and set init"
    ):
        load_pretrained(model, config, allow=())

    assert time.monotonic() - start < 5
    assert_equal(model, before, set(before))


def fill(hub: Path) -> dict[str, Tensor]:
    """Puts random weights where the hub's client lays those of test_vit; returns them."""
    state = randomized(timm.create_model("test_vit").state_dict())
    repository = hub / "models--timm--test_vit.r160_in1k"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(state, snapshot / "model.safetensors")
    return state


def test_weights_of_the_hub_are_loaded(hub: Path) -> None:
    config = tiny("timm", name="test_vit", normalize="half")
    state = fill(hub)
    model = build("timm", name="test_vit", resolution=64)

    report = load_pretrained(model, config, allow={"head", "position"})

    assert report.random == ("head.weight", "head.bias")
    assert report.adapted == {"pos_embed": "grid 10 -> 4"}
    assert_equal(model, state, set(report.matched))


def test_weights_of_the_hub_behind_another_normalisation_are_refused(hub: Path) -> None:
    config = tiny("timm", name="test_vit", normalize="imagenet")
    model = build("timm", name="test_vit", resolution=160)

    with pytest.raises(
        ValueError,
        match=r"test_vit has weights for mean \[0.5, .*not for model.normalize=imagenet; "
        r"set model.normalize to half",
    ):
        load_pretrained(model, config, allow=())


def test_weights_of_the_hub_behind_another_normalisation_are_taken_where_it_may_differ(
    hub: Path,
) -> None:
    """As Singh et al. begin: timm's weights, and none of its normalisation."""
    config = tiny("timm", name="test_vit", normalize="none")
    state = fill(hub)
    model = build("timm", name="test_vit", resolution=160)

    report = load_pretrained(model, config, allow={"head", "normalize"})

    assert_equal(model, state, set(state) - set(report.random))
    assert report.random == ("head.weight", "head.bias")


def test_weights_of_the_hub_that_no_normalisation_fits_are_refused(hub: Path) -> None:
    """CLIP has a mean and a standard deviation of its own."""
    name = "vit_base_patch16_clip_224.openai"

    with pytest.raises(ValueError, match=rf"{name} has .*no scheme of ours has these, allow"):
        load_pretrained(nn.Module(), tiny("timm", name=name, normalize="imagenet"), allow=())


OWN_STEM: dict[str, dict[str, Any]] = {
    "convnext": {"stem": "patch", "stem_stride": 4},
    "resnet": {},
    "vit": {},
    "xcit": {"stem_norm": "bn"},
}


@pytest.mark.parametrize(("family", "changes", "name"), SIZES)
def test_a_model_of_the_table_with_timms_stem_has_exactly_timms_weights(
    family: str, changes: dict[str, Any], name: str
) -> None:
    config = tiny(family, **{**changes, **OWN_STEM[family]})
    with torch.device("meta"):
        ours = build_model(config, num_classes=10, resolution=224).get_submodule("network")
        theirs = timm.create_model(timm_name(config), num_classes=10)

    assert difference_to_timm(config) == ""
    shapes = [{k: t.shape for k, t in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


NOT_TIMMS: list[tuple[str, dict[str, Any], str]] = [
    ("convnext", {"stem": "conv"}, "stem=conv"),
    ("convnext", {"stem_stride": 2}, "stem_stride=2"),
    ("convnext", {"layer_scale": 0.0}, "layer_scale=0"),
    ("convnext", {"depths": [3, 3, 9], "widths": [96, 192, 384]}, "a size or parts of its own"),
    ("resnet", {"stem_stride": 1}, "stem_stride=1"),
    ("vit", {"patch_size": 4}, "patch_size=4"),
    ("vit", {"layer_scale": 0.1}, "layer_scale=0.1"),
    ("xcit", {"patch_size": 4}, "patch_size=4"),
    ("xcit", {"stem_act": "relu"}, "stem_act=relu"),
]


@pytest.mark.parametrize(("family", "changes", "words"), NOT_TIMMS)
def test_what_timm_has_not_is_named(family: str, changes: dict[str, Any], words: str) -> None:
    size = next(size for other, size, _ in SIZES if other == family)
    config = tiny(family, **{**size, **OWN_STEM[family], **changes})

    assert difference_to_timm(config) == words
