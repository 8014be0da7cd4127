"""Crops against timm's own transforms and the papers' figures; models at another side."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from base_trial import timm_config
from family_factory import tiny
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from timm.layers import (
    resample_abs_pos_embed,  # pyright: ignore[reportPrivateImportUsage]
)

from evaluation.crop import Crop, at_side, centre_crop, cut, published_crop, read_images
from models.config import AnyModelConfig
from models.named import named_model
from models.registry import build_model
from trainers.data import stored
from trainers.data.folder import open_folder

SIZES = [(31, 20), (20, 31), (17, 17), (9, 40)]


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("name", "side", "resize", "mode", "interpolation"),
    [
        # Singh et al. 2023: floor(r / 0.875), and the whole image from 384 pixels on.
        ("convnext_tiny", 224, 256, "center", "bicubic"),
        ("convnext_base", 256, 292, "center", "bicubic"),
        ("vit_s", 320, 365, "center", "bicubic"),
        ("convnext_large", 384, 384, "squash", "bicubic"),
        ("vit_b", 448, 448, "squash", "bicubic"),
        # Debenedetti et al. 2023: 1 for XCiT, 0.95 for ResNet-50.
        ("xcit_s12", 224, 224, "center", "bicubic"),
        ("xcit_s12", 384, 384, "center", "bicubic"),
        ("resnet50", 224, 235, "center", "bicubic"),
        # timm's results-imagenet.csv: crop_pct and interpolation; resnet50.a1 is tested at 288.
        ("timm/swin_tiny_patch4_window7_224", 224, 248, "center", "bicubic"),
        ("timm/resnet50.tv_in1k", 224, 256, "center", "bilinear"),
        ("timm/resnet50.a1_in1k", 224, 235, "center", "bicubic"),
        ("timm/resnet50.a1_in1k", 288, 288, "center", "bicubic"),
        ("timm/convnext_base.fb_in22k_ft_in1k_384", 384, 384, "squash", "bicubic"),
        ("timm/poolformer_m12", 224, 256, "center", "bicubic"),
    ],
)
def test_each_family_is_cut_as_it_was_published(
    name: str, side: int, resize: int, mode: Any, interpolation: Any
) -> None:
    crop = published_crop(named_model(name, stem="own"), side=side)

    assert crop == Crop(resize=resize, side=side, mode=mode, interpolation=interpolation)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_those_of_timms_transform(
    size: tuple[int, int], mode: Any, interpolation: Any
) -> None:
    crop = Crop(resize=14, side=12, mode=mode, interpolation=interpolation)
    theirs = create_transform(
        12, crop_pct=12 / 14.5, crop_mode=mode, interpolation=interpolation, normalize=False
    )

    assert torch.equal(cut(picture(*size), crop), theirs(picture(*size)))  # pyright: ignore


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.875, 0.95, 1.0])
def test_a_trials_own_crop_is_that_of_its_training(size: tuple[int, int], share: float) -> None:
    trained = stored.centre_crop(picture(*size), side=14, share=share)

    assert torch.equal(cut(picture(*size), centre_crop(side=14, share=share)), trained)


def test_timms_resolver_agrees_for_its_models() -> None:
    for name in ("resnet18", "deit3_medium_patch16_224", "tf_efficientnet_b0.in1k", "resnest50d"):
        known = resolve_data_config(pretrained_cfg=pretrained(name))
        side = known["input_size"][-1]

        crop = published_crop(timm_config(name), side=side)

        assert (crop.mode, crop.interpolation) == (known["crop_mode"], known["interpolation"])
        assert crop.resize == int(side / known["crop_pct"])


def pretrained(name: str) -> dict[str, Any]:
    known = timm.get_pretrained_cfg(name)
    assert known is not None
    return known.to_dict()


def test_a_crop_with_borders_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"must be timm's center or squash, and .* has border; take"
    ):
        published_crop(timm_config("deepseek_vit_412m"), side=224)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "0.png").write_bytes(b"\x89PNG")
    source, labels = open_folder(tmp_path), np.array([0])

    with pytest.raises(ValueError, match=r"must be readable, and ant/0.png of folder .* is not: "):
        read_images(source, labels, centre_crop(side=8, share=1.0), labels=labels, threads=1)


def built(config: AnyModelConfig, *, side: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(config, num_classes=4, resolution=side).eval()


def images(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["convnext", "resnet", "xcit"])
def test_without_positions_a_model_at_another_side_is_the_same(family: str) -> None:
    model = built(tiny(family), side=16)

    resized = at_side(model, tiny(family), num_classes=4, side=24)

    assert torch.equal(resized(images(24)), model(images(24)))


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit", "timm"])
def test_at_its_own_side_a_model_is_a_copy_of_itself(family: str) -> None:
    model = built(tiny(family), side=32)

    copy = at_side(model, tiny(family), num_classes=4, side=32)

    assert torch.equal(copy(images(32)), model(images(32)))
    assert copy is not model


def test_a_vit_at_another_side_has_timms_resampled_positions() -> None:
    model = built(tiny("vit"), side=16)
    before = model.get_parameter("network.pos_embed")

    resized = at_side(model, tiny("vit"), num_classes=4, side=24)

    after = resized.get_parameter("network.pos_embed")
    torch.testing.assert_close(after, resample_abs_pos_embed(before, new_size=[6, 6]))
    assert resized(images(24)).shape == (2, 4)


def test_resizing_draws_no_random_numbers() -> None:
    model, state = built(tiny("vit"), side=16), torch.get_rng_state()

    at_side(model, tiny("vit"), num_classes=4, side=24)

    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("config", "trained", "side", "words"),
    [
        (tiny("vit"), 16, 18, r"multiple of patch_size \(4\), got 18; take another"),
        (tiny("xcit"), 16, 18, r"multiple of patch_size \(\d\), got 18; take another"),
        (tiny("convnext"), 16, 2, "need resolution >= 4, got 2; take"),
        (
            timm_config("gmixer_12_224"),
            32,
            48,
            "gmixer_12_224 cannot be evaluated at 48 pixels: .* only position embeddings may .*; "
            "evaluate it at its own side",
        ),
    ],
)
def test_a_side_that_a_model_cannot_take_is_refused(
    config: AnyModelConfig, trained: int, side: int, words: str
) -> None:
    model = built(config, side=trained)

    with pytest.raises(ValueError, match=words):
        at_side(model, config, num_classes=4, side=side)
