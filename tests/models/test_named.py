"""Published architectures against published sizes, counted at 224 pixels and 1000 classes.

The numbers of operations are fvcore's, which has one multiply-add as 1, normalisation included.
"""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.config import ResNetConfig, StemConfig, TimmConfig
from models.cost import cost, forward_cost
from models.named import NAMES, Stem, named_model
from models.registry import build_model

# Singh et al. 2023, arXiv:2303.01870: their code, measured by us.
SINGH = [
    ("convnext_tiny", "patch", 28.589, 4.470),
    ("convnext_tiny", "conv", 28.627, 4.601),
    ("convnext_small", "patch", 50.224, 8.705),
    ("convnext_small", "conv", 50.262, 8.836),
    ("convnext_base", "patch", 88.591, 15.384),
    ("convnext_base", "conv", 88.753, 15.904),
    ("convnext_large", "patch", 197.767, 34.405),
    ("convnext_large", "conv", 198.135, 35.576),
    ("convnext_iso", "patch", 22.309, 4.293),
    ("convnext_iso", "conv", 23.036, 4.671),
    ("vit_s", "patch", 22.051, 4.608),
    ("vit_s", "conv", 22.778, 4.986),
    ("vit_m", "patch", 38.850, 8.004),
    ("vit_m", "conv", 39.527, 8.371),
    ("vit_b", "patch", 86.568, 17.583),
    ("vit_b", "conv", 87.147, 17.931),
]
# Debenedetti et al. 2023, arXiv:2209.07399: their code, measured by us.
DEBENEDETTI = [
    ("xcit_n12", "own", 3.053, 0.557),
    ("xcit_s12", "own", 26.253, 4.815),
    ("xcit_m12", "own", 46.401, 8.535),
    ("xcit_l12", "own", 103.793, 18.973),
    ("resnet50", "own", 25.557, 4.112),
    ("wide_resnet50_2", "own", 68.883, 11.427),
    ("deit_s", "own", 22.051, 4.608),
]


@dataclass(frozen=True, kw_only=True)
class Count:
    """What one forward pass shows; `cost` needs five."""

    params_m: float
    gmacs: float
    norms: list[float]
    """Operations of each norm, in 1e9: as fvcore, 5 for each number that it sees, 2 for a batch
    norm with known statistics."""


def count(name: str, stem: Stem) -> Count:
    norms: list[float] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        each = 2 if isinstance(module, nn.BatchNorm2d) else 5
        norms.append(each * inputs[0].numel() / 1e9)

    with torch.device("meta"):
        model = build_model(named_model(name, stem=stem), num_classes=1000, resolution=224)
        for module in model.eval().requires_grad_(False).modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                module.register_forward_hook(add)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 224, 224))
    return Count(
        params_m=sum(p.numel() for p in model.parameters()) / 1e6,
        gmacs=counter.get_total_flops() / 2 / 1e9,
        norms=norms,
    )


@pytest.mark.parametrize(("name", "stem", "params_m", "gmacs"), SINGH + DEBENEDETTI)
def test_models_have_the_published_size(
    name: str, stem: Stem, params_m: float, gmacs: float
) -> None:
    config = named_model(name, stem=stem)
    # Those of Singh et al.'s stems are written out in elementary operations, unseen by fvcore.
    unseen = config.stem_convs if isinstance(config, StemConfig) and stem == "conv" else 0

    measured = count(name, stem)

    assert round(measured.params_m, 3) == params_m
    # Pooling is left out.
    assert measured.gmacs + sum(measured.norms[unseen:]) == pytest.approx(gmacs, abs=0.0006)


@pytest.mark.parametrize(("name", "stem", "params_m", "gmacs"), SINGH + DEBENEDETTI)
def test_forward_cost_is_the_published_size_but_for_the_norms(
    name: str, stem: Stem, params_m: float, gmacs: float
) -> None:
    # Norms, which fvcore counts and we do not, are 1.1 % of so narrow a network.
    rel = 0.0125 if name == "xcit_n12" else 0.01

    measured = forward_cost(named_model(name, stem=stem), num_classes=1000, resolution=224)

    assert round(measured.params_m, 3) == params_m
    assert measured.gmacs == pytest.approx(gmacs, rel=rel)


@pytest.mark.parametrize("name", ["vit_s", "xcit_n12", "cait_s12", "poolformer_m12"])
def test_cost_counts_all_but_the_norms(name: str) -> None:
    expected = count(name, "conv")

    measured = cost(named_model(name, stem="conv"), num_classes=1000, resolution=224)

    assert measured.params_m == expected.params_m
    assert measured.gmacs == expected.gmacs


@pytest.mark.parametrize(
    ("name", "params_m", "gmacs"),
    [
        # Debenedetti et al. 2023, table II a; their millions of parameters are rounded down.
        ("deit_s", 22, 4.61),
        ("cait_s12", 25, 4.76),
        ("xcit_n12", 3, 0.56),
    ],
)
def test_models_have_the_size_in_debenedettis_table(name: str, params_m: int, gmacs: float) -> None:
    measured = count(name, "own")

    assert int(measured.params_m) == params_m
    assert round(measured.gmacs + sum(measured.norms), 2) == gmacs


@pytest.mark.parametrize(
    ("name", "params_m", "gmacs"),
    [
        # Parameters: timm's results/*.csv. Operations: Liu et al. 2021, table 1.
        ("swin_t", 28.29, 4.5),
        ("swin_s", 49.61, 8.7),
        ("swin_b", 87.77, 15.4),
    ],
)
def test_swins_have_the_published_size(name: str, params_m: float, gmacs: float) -> None:
    measured = count(name, "own")

    assert round(measured.params_m, 2) == params_m
    assert measured.gmacs == pytest.approx(gmacs, rel=0.01)


def test_poolformer_m12_is_a_shallower_m36() -> None:
    """No size is published for M12. M36's is from timm's results/benchmark-infer-*.csv."""
    m36 = count("timm/poolformer_m36", "own")

    m12 = count("poolformer_m12", "own")

    # Depths 2, 2, 6, 2 for 6, 6, 18, 6. A block: an MLP of fourfold width, two norms, two scales.
    fewer = [(4, 96, 56), (4, 192, 28), (12, 384, 14), (4, 768, 7)]
    params = sum(blocks * (8 * width**2 + 11 * width) for blocks, width, _ in fewer) / 1e6
    gmacs = sum(blocks * 8 * width**2 * side**2 for blocks, width, side in fewer) / 1e9
    assert round(m36.params_m, 2) == 56.17
    assert m36.gmacs == pytest.approx(8.80, rel=0.01)
    assert m36.params_m - m12.params_m == pytest.approx(params)
    assert m36.gmacs - m12.gmacs == pytest.approx(gmacs)


def test_deit_s_is_vit_s_and_activations_change_nothing_else() -> None:
    resnet50 = named_model("resnet50", stem="own")
    silu = {"act": "silu", "stem_act": "silu"}

    assert named_model("deit_s", stem="conv") == named_model("vit_s", stem="conv")
    assert named_model("resnet50_silu", stem="own") == resnet50.model_copy(update=silu)
    assert named_model("resnet50_gelu", stem="own") != resnet50


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("convnext_tiny", "convnext_tiny"),
        ("vit_s", "vit_small_patch16_224"),
        ("vit_m", "deit3_medium_patch16_224"),
        ("xcit_n12", "xcit_nano_12_p16_224"),
        ("xcit_s12", "xcit_small_12_p16_224"),
        ("resnet50", "resnet50"),
        ("wide_resnet50_2", "wide_resnet50_2"),
    ],
)
def test_weights_of_timm_fit_the_published_models(name: str, theirs: str) -> None:
    with torch.device("meta"):
        ours = build_model(named_model(name, stem="own"), num_classes=1000, resolution=224)
        expected = timm.create_model(theirs).state_dict()

    found = ours.get_submodule("network").state_dict()

    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_a_patch_and_a_conv_stem(name: str) -> None:
    patch, conv = named_model(name, stem="patch"), named_model(name, stem="conv")

    assert conv.stem == "conv"
    assert patch.stem == ("own" if isinstance(patch, TimmConfig) else "patch")
    assert patch.family == conv.family


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("name", ["resnet50_gelu", "xcit_n12", "cait_s12", "poolformer_m12"])
def test_stems_without_a_published_size_classify(name: str, stem: Stem) -> None:
    with torch.device("meta"):
        model = build_model(named_model(name, stem=stem), num_classes=7, resolution=32)
        logits = model(torch.empty(2, 3, 32, 32))

    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("convnext_iso", "patch"),
        ("vit_b", "patch"),
        ("xcit_l12", "conv"),
        ("resnet50_silu", "pool"),
        ("swin_t", "own"),
    ],
)
def test_the_own_stem_is_that_of_the_paper(name: str, stem: str) -> None:
    assert named_model(name, stem="own").stem == stem


def test_the_convolutions_of_a_resnet_stem_are_normalised_and_activated_as_its_blocks() -> None:
    config = named_model("resnet50_gelu", stem="conv")

    assert isinstance(config, ResNetConfig)
    assert (config.stem_norm, config.stem_act) == (config.norm, config.act) == ("bn", "gelu")
    assert config.stem_convs == 2


def test_any_model_of_timm_has_a_name() -> None:
    config = named_model("timm/resnet18", stem="patch")

    assert isinstance(config, TimmConfig)
    assert (config.name, config.stem) == ("resnet18", "own")


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    words = (
        "no model is named 'convnext_tinny'; nearest: convnext_tiny, .*; models of timm are named "
        "timm/NAME; the others are convnext_tiny, convnext_small, .*, swin_b$"
    )

    with pytest.raises(ValueError, match=words):
        named_model("convnext_tinny", stem="own")


def test_naming_a_model_loads_no_torch() -> None:
    code = "import models.named, sys; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
