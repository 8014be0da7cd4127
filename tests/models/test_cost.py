"""Counts against published sizes (fvcore on the models of Singh et al. 2023, 224 px), memory
against closed forms and against what real tensors keep.
"""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from base_trial import timm_config
from family_factory import tiny
from torch import Tensor, nn
from torch.nn import functional

from models.cost import apgd_gmacs, cost, forward_cost, kept_bytes
from models.named import Stem, named_model
from models.registry import build_model


@pytest.mark.parametrize(
    ("name", "stem", "params_m", "gmacs"),
    [
        ("convnext_tiny", "patch", 28.589, 4.470),
        ("convnext_tiny", "conv", 28.627, 4.601),
        ("convnext_small", "patch", 50.224, 8.705),
        ("convnext_small", "conv", 50.262, 8.836),
    ],
)
def test_convnext_costs_what_was_published(
    name: str, stem: Stem, params_m: float, gmacs: float
) -> None:
    measured = forward_cost(named_model(name, stem=stem), num_classes=1000, resolution=224)

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
    measured = cost(timm_config(name), num_classes=1000, resolution=224)

    assert round(measured.params_m, 2) == params_m
    assert measured.gmacs == pytest.approx(gmacs, rel=0.02)


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit", "timm"])
def test_the_cost_of_a_forward_pass_alone_is_the_same(family: str) -> None:
    whole = cost(tiny(family), num_classes=3, resolution=32)

    alone = forward_cost(tiny(family), num_classes=3, resolution=32)

    assert (alone.params_m, alone.gmacs) == (whole.params_m, whole.gmacs)


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit", "timm"])
def test_counting_draws_no_random_number(family: str) -> None:
    before = torch.get_rng_state()

    cost(tiny(family, drop_path=0.5, head_dropout=0.5), num_classes=3, resolution=32)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit"])
def test_a_built_model_has_the_parameters_and_keeps_the_bytes_that_were_counted(
    family: str,
) -> None:
    config = tiny(family, drop_path=0.5)

    measured = cost(config, num_classes=3, resolution=16)

    model = build_model(config, num_classes=3, resolution=16)
    assert measured.params_m == sum(p.numel() for p in model.parameters()) / 1e6
    training = kept_bytes(model.train(), lambda n: torch.rand(n, 3, 16, 16), batches=(2, 5))
    assert training == measured.activation_mb * 1e6
    model.eval().requires_grad_(False)
    attack = kept_bytes(model, of_images_that_need_the_gradient(16), batches=(2, 5))
    assert attack == measured.attack_activation_mb * 1e6
    assert attack < training


def of_images_that_need_the_gradient(side: int) -> Callable[[int], Tensor]:
    return lambda n: torch.rand(n, 3, side, side, requires_grad=True)


PERCEPTRON = nn.Sequential(nn.Flatten(), nn.Linear(48, 10), nn.ReLU(), nn.Linear(10, 7))
CONVOLUTION = nn.Sequential(
    nn.Conv2d(3, 5, kernel_size=1), nn.BatchNorm2d(5), nn.GELU(), nn.Flatten(), nn.Linear(80, 7)
)


@pytest.mark.parametrize(
    ("network", "floats"),
    [
        # The images, and the ReLU's output, which is also the input of the second layer.
        (PERCEPTRON, 48 + 10),
        # The images, the inputs of batch norm and GELU, and that of the last layer. The batch
        # statistics are the same for every batch.
        (CONVOLUTION, 48 + 80 + 80 + 80),
    ],
)
def test_training_keeps_what_the_chain_rule_needs(network: nn.Module, floats: int) -> None:
    kept = kept_bytes(network.train(), lambda n: torch.rand(n, 3, 4, 4), batches=(2, 3))

    assert kept == 4 * floats


def test_an_attack_keeps_nothing_for_frozen_linear_layers() -> None:
    frozen = deepcopy(PERCEPTRON).eval().requires_grad_(False)

    kept = kept_bytes(frozen, of_images_that_need_the_gradient(4), batches=(2, 3))

    assert kept == 4 * 10  # the ReLU's output


class Attention(nn.Module):
    """Attends with values of another width than that of queries and keys."""

    def __init__(self, *, value_width: int) -> None:
        super().__init__()
        self.value_width = value_width

    def forward(self, x: Tensor) -> Tensor:
        """Returns what each row of pixels attends to."""
        return functional.scaled_dot_product_attention(x, x * 2, x[..., : self.value_width] * 3)


def test_fused_attention_keeps_no_matrix_of_pairs() -> None:
    x = torch.rand(3, 3, 16, 4)  # 3 heads, 16 tokens
    inputs_and_output, sums = 4 * x[0].numel(), 3 * 16

    kept = kept_bytes(
        Attention(value_width=4), lambda n: x[:n].clone().requires_grad_(), batches=(1, 3)
    )

    assert kept == 4 * (inputs_and_output + sums)


def test_attention_that_no_kernel_fuses_keeps_the_matrix() -> None:
    real, meta = (
        kept_bytes(
            Attention(value_width=2),
            lambda n, device=device: torch.zeros(n, 3, 16, 4, device=device, requires_grad=True),
            batches=(1, 3),
        )
        for device in ("cpu", "meta")
    )

    assert real == meta > 4 * 3 * 16 * 16


def test_a_step_with_two_steps_of_apgd_takes_eight_passes() -> None:
    tiny_gmacs = 4.45

    # Arithmetic floor of ConvNeXt-T: 71 GFLOP per image, 8/3 of clean training.
    assert 2 * apgd_gmacs(tiny_gmacs, steps=2) == pytest.approx(71, rel=0.01)
    assert apgd_gmacs(tiny_gmacs, steps=2) == pytest.approx(8 / 3 * 3 * tiny_gmacs)


def test_a_vit_drops_the_pixels_beyond_its_last_whole_patch() -> None:
    config = timm_config("vit_tiny_patch16_224")

    measured = forward_cost(config, num_classes=5, resolution=20)

    assert measured == forward_cost(config, num_classes=5, resolution=16)
