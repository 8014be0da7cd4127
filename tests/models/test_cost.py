"""Counts against published sizes (fvcore on the models of Singh et al. 2023, 224 px)."""

from typing import Literal

import pytest
import torch

from models.config import ConvNeXtConfig, TimmConfig
from models.cost import cost
from models.registry import build_model


def convnext(
    stem: Literal["patch", "conv"],
    depths: tuple[int, ...],
    widths: tuple[int, ...] = (96, 192, 384, 768),
) -> ConvNeXtConfig:
    return ConvNeXtConfig(
        family="convnext",
        stem=stem,
        stem_stride=4,
        depths=depths,
        widths=widths,
        layer_scale=1e-6,
        drop_path=0,
        normalize="none",
    )


TINY, SMALL = (3, 3, 9, 3), (3, 3, 27, 3)


@pytest.mark.parametrize(
    ("stem", "depths", "params_m", "gmacs"),
    [
        ("patch", TINY, 28.589, 4.470),
        ("conv", TINY, 28.627, 4.601),
        ("patch", SMALL, 50.224, 8.705),
        ("conv", SMALL, 50.262, 8.836),
    ],
)
def test_convnext_costs_what_was_published(
    stem: Literal["patch", "conv"], depths: tuple[int, ...], params_m: float, gmacs: float
) -> None:
    measured = cost(convnext(stem, depths), num_classes=1000, resolution=224)

    assert round(measured.params_m, 3) == params_m
    # fvcore also counts normalisation: 0.3 % here.
    assert measured.gmacs == pytest.approx(gmacs, rel=0.01)


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
def test_timm_models_cost_what_timm_says(name: str, params_m: float, gmacs: float) -> None:
    config = TimmConfig(family="timm", name=name, drop_path=0, normalize="none")

    measured = cost(config, num_classes=1000, resolution=224)

    assert round(measured.params_m, 2) == params_m
    assert measured.gmacs == pytest.approx(gmacs, rel=0.02)


def test_counting_draws_no_random_number() -> None:
    before = torch.get_rng_state()

    cost(convnext("conv", (1, 1), (8, 16)), num_classes=3, resolution=8)

    assert torch.equal(torch.get_rng_state(), before)


def test_parameters_agree_with_a_built_model() -> None:
    config = convnext("conv", (1, 2), (8, 16))

    measured = cost(config, num_classes=3, resolution=8)

    model = build_model(config, num_classes=3, resolution=8)
    assert measured.params_m == sum(p.numel() for p in model.parameters()) / 1e6


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
def test_a_timm_model_that_cannot_take_the_resolution_is_refused(
    name: str, resolution: int, reason: str, size: int
) -> None:
    config = TimmConfig(family="timm", name=name, drop_path=0, normalize="none")

    with pytest.raises(ValueError, match="cannot take images") as caught:
        cost(config, num_classes=5, resolution=resolution)

    text = str(caught.value)
    assert text.startswith(f"timm's {name} cannot take images of resolution {resolution}: ")
    assert reason in text
    assert text.endswith(f"; take another resolution (timm has it at {size}) or another model")


def test_a_vit_drops_the_pixels_beyond_its_last_whole_patch() -> None:
    config = TimmConfig(family="timm", name="vit_tiny_patch16_224", drop_path=0, normalize="none")

    measured = cost(config, num_classes=5, resolution=20)

    assert measured == cost(config, num_classes=5, resolution=16)
