"""Each published layout, made here by hand, gives back the logits of the network it came from."""

import argparse
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
import timm
import torch
from family_factory import tiny
from torch import Tensor, nn

from models.config import Layout
from models.ema import Ema
from models.layouts import bare_names, export_weights, read_state
from models.registry import build_model
from models.weights import load_weights

State = dict[str, Tensor]
MEAN_STD = {"mean": torch.full((1, 3, 1, 1), 0.5), "std": torch.full((1, 3, 1, 1), 0.5)}


def build(family: str, *, seed: int, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config_of(family, **changes), num_classes=3, resolution=8).eval()


def config_of(family: str, **changes: Any) -> Any:
    return tiny(family, **({"name": "test_resnet", **changes} if family == "timm" else changes))


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


def network_state(model: nn.Module) -> State:
    return dict(model.get_submodule("network").state_dict())


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_gives_back(path: Path, model: nn.Module, other: nn.Module) -> None:
    """Loads the file into `other`, which has random weights, and compares it with `model`."""
    assert not torch.allclose(logits(other), logits(model), atol=1e-3)

    report = load_weights(other, read_state(path, weights="scored"), allow=())

    torch.testing.assert_close(logits(other), logits(model), atol=1e-5, rtol=0)
    assert set(report.matched) == set(network_state(model))


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "timm": lambda s: {"state_dict": s, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "timm, parallel": lambda s: {"state_dict": prefixed("module.", s), "arch": "resnet"},
    "lightning-like": lambda s: {"model": prefixed("model.", s)},
    "compiled, parallel": lambda s: prefixed("module._orig_mod.", s),
    "parallel, compiled": lambda s: prefixed("_orig_mod.module.", s),
    "compiled inside": lambda s: prefixed("network._orig_mod.", s),
    "ours": lambda s: prefixed("network.", s),
    "Singh et al., weights": lambda s: prefixed("module.base_model.", s),
    "Singh et al., full": lambda s: {
        "model_state_dict": prefixed("base_model.", s),
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "epoch": 4,
    },
    "Singh et al., normalised": lambda s: {
        **prefixed("module.base_model.normalize.", MEAN_STD),
        **prefixed("module.base_model.model.", s),
    },
    "Debenedetti et al., normalised": lambda s: {
        "model": {**prefixed("normalize.", MEAN_STD), **prefixed("model.", s)}
    },
    "Debenedetti et al., first wrapper": lambda s: {**MEAN_STD, **prefixed("model.", s)},
    "averaged by torch": lambda s: {**prefixed("module.", s), "n_averaged": torch.tensor(3)},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_whatever_is_wrapped_around_the_names_comes_off(wrapper: str, tmp_path: Path) -> None:
    model = build("resnet", seed=1)
    path = saved(tmp_path / "weights.pt", WRAPPERS[wrapper](network_state(model)))

    assert_gives_back(path, model, build("resnet", seed=2))


@pytest.mark.parametrize(
    ("layout", "family"),
    [
        *product(
            ("rampart", "revisiting", "debenedetti"), ("convnext", "resnet", "vit", "xcit", "timm")
        ),
        ("timm", "timm"),
    ],
)
@pytest.mark.parametrize("normalize", ["none", "imagenet"])
def test_what_is_exported_is_read_back(
    family: str, layout: Layout, normalize: str, tmp_path: Path
) -> None:
    model = build(family, seed=1, normalize=normalize)
    suffix = ".safetensors" if layout in ("rampart", "timm") else ".pt"

    config = config_of(family, normalize=normalize)
    export_weights(model, tmp_path / f"weights{suffix}", layout=layout, config=config)

    other = build(family, seed=2, normalize=normalize)
    assert_gives_back(tmp_path / f"weights{suffix}", model, other)
    assert [file.name for file in tmp_path.iterdir()] == [f"weights{suffix}"]


CONV_STEM_OF_CONVNEXT = {
    f"{stem}.{index}.{kind}"
    for stem, index in (("stem.stem", 0), ("stem.stem", 1), ("stem.stem", 3), ("stem.stem", 4))
    for kind in ("weight", "bias")
}
CONV_STEM_OF_VIT = {
    f"patch_embed.proj.stem.{index}.{kind}"
    for index in (0, 1, 3, 4, 6)  # convolution, norm, convolution, norm, the 1x1 at the end
    for kind in ("weight", "bias")
}


@pytest.mark.parametrize(
    ("family", "projection", "theirs"),
    [("convnext", False, CONV_STEM_OF_CONVNEXT), ("vit", True, CONV_STEM_OF_VIT)],
)
def test_convolutional_stems_have_the_names_of_singh_et_al(
    family: str, projection: bool, theirs: set[str], tmp_path: Path
) -> None:
    """Names from utils_architecture.py: the modules stem.stem and patch_embed.proj.stem."""
    changes = {"stem": "conv", "stem_projection": projection, "stem_norm": "ln"}
    model = build(family, seed=1, **changes)
    path = tmp_path / "weights_ema_299.pt"

    export_weights(model, path, layout="revisiting", config=config_of(family, **changes))

    names = set(torch.load(path, weights_only=True))
    assert {f"module.base_model.{name}" for name in theirs} <= names
    assert len([name for name in names if ".stem." in name]) == len(theirs)
    assert_gives_back(path, model, build(family, seed=2, **changes))


class TheirNorm(nn.Module):
    """The channels-first LayerNorm of ConvNeXt's authors, with its two vectors."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))
        self.bias = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class TheirStem(nn.Module):
    """A stem inside a module of its own, as published."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 20, 3, stride=2, padding=1),
            TheirNorm(20),
            nn.GELU(),
            nn.Conv2d(20, 40, 3, stride=2, padding=1),
            TheirNorm(40),
            nn.GELU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x)


def test_a_convnext_of_singh_et_al_computes_the_same_here(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("convnext_atto", conv_mlp=False, num_classes=3).eval()
    theirs.stem = TheirStem()
    path = saved(tmp_path / "weights.pt", prefixed("module.base_model.", theirs.state_dict()))
    shape = {"depths": [2, 2, 6, 2], "widths": [40, 80, 160, 320], "layer_scale": 1e-6}
    config = tiny("convnext", stem_stride=4, **shape)
    ours = build_model(config, num_classes=3, resolution=32).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    load_weights(ours, read_state(path, weights="scored"), allow=())

    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=0)


def test_blurred_convolutions_have_the_names_of_singh_et_al(tmp_path: Path) -> None:
    changes = {"blur_pool": True, "widths": [16, 32]}
    model = build("convnext", seed=1, **changes)
    path = tmp_path / "weights.pt"

    export_weights(model, path, layout="revisiting", config=config_of("convnext", **changes))

    state = torch.load(path, weights_only=True)
    downsample = "module.base_model.stages.1.downsample.1"
    assert state[f"{downsample}.conv.weight"].shape == (32, 16, 2, 2)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    assert torch.equal(state[f"{downsample}.blur_filter"][7, 0], torch.outer(kernel, kernel) / 16)
    assert state[f"{downsample}.blur_filter"].shape == (16, 1, 3, 3)
    assert_gives_back(path, model, build("convnext", seed=2, **changes))


@pytest.mark.parametrize("layout", ["timm", "debenedetti"])
def test_a_layout_without_blur_is_refused_for_a_model_with_it(
    layout: Literal["timm", "debenedetti"], tmp_path: Path
) -> None:
    changes = {"blur_pool": True, "widths": [16, 32]}
    model = build("convnext", seed=1, **changes)
    path = tmp_path / ("a.safetensors" if layout == "timm" else "a.pt")

    with pytest.raises(ValueError, match=r"no blur .* has at stages.1.downsample.1; take layout="):
        export_weights(model, path, layout=layout, config=config_of("convnext", **changes))


def test_timm_loads_what_is_exported_for_it(tmp_path: Path) -> None:
    model = build("timm", seed=1)
    path = tmp_path / "weights.safetensors"

    export_weights(model, path, layout="timm", config=config_of("timm"))
    theirs = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(path)).eval()

    assert torch.equal(logits(theirs), logits(model))


def test_the_published_wrappers_load_what_is_exported_for_them(tmp_path: Path) -> None:
    """Strictly, into modules built here as their code builds them."""
    model = build("timm", seed=1, normalize="half")
    normalize = nn.Module()
    for name, tensor in MEAN_STD.items():
        normalize.register_buffer(name, torch.zeros_like(tensor))
    wrapped = nn.Sequential()
    wrapped.add_module("normalize", normalize)
    wrapped.add_module("model", timm.create_model("test_resnet", num_classes=3))
    attacked = nn.Module()
    attacked.add_module("base_model", wrapped)
    parallel = nn.Module()
    parallel.add_module("module", attacked)

    config = config_of("timm", normalize="half")
    export_weights(model, tmp_path / "a.pt", layout="debenedetti", config=config)
    export_weights(model, tmp_path / "b.pt", layout="revisiting", config=config)

    wrapped.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True))
    parallel.load_state_dict(torch.load(tmp_path / "b.pt", weights_only=True))
    assert torch.equal(wrapped.get_buffer("normalize.mean"), MEAN_STD["mean"])
    assert torch.equal(wrapped.get_buffer("normalize.std"), MEAN_STD["std"])


def test_our_own_checkpoint_is_read_with_and_without_its_average(tmp_path: Path) -> None:
    """As trainers.checkpoint writes it."""
    model = build("convnext", seed=1)
    ema = Ema(build("convnext", seed=2), decay=0.9)
    content = {"config": "{}", "epoch": 1, "model": model.state_dict(), "ema": ema.state_dict()}
    path = saved(tmp_path / "checkpoint.pt", content)
    scored, raw = build("convnext", seed=3), build("convnext", seed=3)

    load_weights(scored, read_state(path, weights="scored"), allow=())
    load_weights(raw, read_state(path, weights="raw"), allow=())

    assert torch.equal(logits(scored), logits(ema.averaged))
    assert torch.equal(logits(raw), logits(model))


def test_a_prefix_stays_where_only_some_names_have_it() -> None:
    state = {"model.w": torch.ones(1), "head.w": torch.ones(1)}

    assert set(bare_names(state)) == {"model.w", "head.w"}


def test_a_layer_whose_name_ends_like_a_prefix_keeps_it() -> None:
    """The published code replaces `module.` anywhere, also in `se_module.`."""
    state = prefixed("module.", {"se_module.w": torch.ones(1), "block.module.w": torch.ones(1)})

    assert set(bare_names(state)) == {"se_module.w", "block.module.w"}
