"""Exports: what a layout cannot hold is refused, and timm loads what is written for it."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from family_factory import tiny

from models.config import Layout
from models.layouts import export_weights
from models.registry import build_model


@pytest.mark.parametrize(
    ("layout", "name", "suffix"),
    [
        ("rampart", "a.pt", r"\.safetensors"),
        ("timm", "a.bin", r"\.safetensors"),
        ("revisiting", "a.safetensors", r"\.pt"),
        ("debenedetti", "a.safetensors", r"\.pt"),
    ],
)
def test_a_suffix_that_readers_would_misread_is_refused(
    layout: Layout, name: str, suffix: str, tmp_path: Path
) -> None:
    config = tiny("timm", name="test_resnet")
    model = build_model(config, num_classes=3, resolution=8)

    with pytest.raises(ValueError, match=rf"layout={layout} needs a file named \*{suffix}, got a"):
        export_weights(model, tmp_path / name, layout=layout, config=config)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("convnext", {}, "family convnext with a size or parts of its own"),
        ("timm", {"name": "test_vit", "stem": "conv"}, "family timm with stem=conv"),
    ],
)
def test_the_layout_of_timm_is_refused_for_what_timm_has_not(
    family: str, changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    config = tiny(family, **changes)
    model = build_model(config, num_classes=3, resolution=32)

    with pytest.raises(
        ValueError, match=rf"needs a model that timm has too, got {words}; take lay"
    ):
        export_weights(model, tmp_path / "a.safetensors", layout="timm", config=config)

    assert not list(tmp_path.iterdir())


def test_a_residual_network_of_timms_size_loads_into_timms_model(tmp_path: Path) -> None:
    size = {"stem_stride": 4, "depths": [2, 2, 2, 2], "widths": [64, 128, 256, 512]}
    config = tiny("resnet", block="basic", **size)
    model = build_model(config, num_classes=3, resolution=32).eval()
    path = tmp_path / "weights.safetensors"
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    export_weights(model, path, layout="timm", config=config)
    theirs = timm.create_model("resnet18", num_classes=3, checkpoint_path=str(path)).eval()

    torch.testing.assert_close(theirs(x), model(x))
