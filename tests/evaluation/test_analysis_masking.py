"""Masking as an analysis: what is kept of the signs' measurements, also of models that mask."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from linear_subjects import quiet
from pydantic import ValidationError
from tiny_task import CPU, LINF, robust_net, tiny_images
from torch import Tensor, nn

from evaluation.analyses import masking
from evaluation.analyses.outcome import Outcome, Subject
from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import Outputs

FIELDS: dict[str, Any] = {
    "split": "test",
    "images": 48,
    "batch_size": 48,
    "seed": 4,
    "threat": LINF,
    "passes": 3,
    "logit_change": 1e-4,
    "probability_slack": 1e-5,
    "zero_gradients": 0.0,
    "apgd_steps": 10,
    "eps_factors": "0.5,8",
    "unbroken": 0.01,
    "few_steps": 5,
    "many_steps": 20,
    "square_queries": 50,
    "noise_draws": 2,
    "black_box_gain": 0.002,
    "loss_gap": 0.04,
}
CONFIG = MaskingConfig.model_validate(FIELDS)


class Noisy(nn.Module):
    """Adds noise to the images, also in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.05 * torch.randn_like(x)


MODELS: dict[str, nn.Module] = {
    "healthy": robust_net(),
    "random": nn.Sequential(Noisy(), robust_net()),
    "probability": nn.Sequential(robust_net(), nn.Softmax(dim=1)),
}


@functools.cache
def outcome_of(name: str) -> Outcome[masking.MaskingFindings]:
    subject = Subject(
        models={name: MODELS[name].eval()}, images=tiny_images(48, seed=9), device=CPU
    )
    return masking.run(subject, CONFIG, report=quiet)


@pytest.mark.parametrize(
    ("name", "signs"),
    [
        ("healthy", []),
        ("random", ["randomised output"]),
        ("probability", ["probability output"]),
    ],
)
def test_every_model_gets_through_to_its_signs(name: str, signs: list[str]) -> None:
    found = outcome_of(name).findings

    assert [sign.name for sign in found.signs] == signs
    assert [line.partition(":")[0] for line in found.verdict] == (
        signs or ["no sign of gradient masking"]
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_accuracy_is_that_of_its_flags(name: str) -> None:
    found, arrays = outcome_of(name).findings, outcome_of(name).arrays

    assert found.clean.correct == arrays["is_clean_correct"].sum()
    assert [one.correct for one in found.attacks] == arrays["is_right"].sum(axis=1).tolist()
    assert [p.robust.correct for p in found.sweep] == arrays["sweep_is_right"].sum(axis=1).tolist()
    assert [p.eps for p in found.sweep] == arrays["sweep_eps"].tolist()
    np.testing.assert_allclose(arrays["sweep_eps"], np.array([0.5, 1, 8]) * LINF.eps)
    assert {one.n for one in (found.clean, *found.attacks)} == {48}


def test_an_accuracy_names_every_attack_that_its_images_withstood() -> None:
    found, arrays = outcome_of("healthy").findings, outcome_of("healthy").arrays

    ce, dlr, both, square, noise = arrays["is_right"][2:]
    assert [one.attack for one in found.attacks] == [
        "pgd5",
        "pgd20",
        "apgd_ce10",
        "apgd_dlr10",
        "apgd_ce10+apgd_dlr10",
        "apgd_ce10+apgd_dlr10+square50",
        "apgd_ce10+apgd_dlr10+noise2",
    ]
    assert (both == ce & dlr).all()
    assert not (square & ~both).any()
    assert not (noise & ~both).any()


def test_the_numbers_behind_the_signs_are_kept() -> None:
    random, probability = outcome_of("random").findings, outcome_of("probability").findings

    assert random.logit_change > CONFIG.logit_change
    assert (probability.lowest_output, probability.row_sum_error) == pytest.approx((0, 0), abs=1e-2)
    assert Outputs.model_fields.keys() < random.model_dump().keys()
    again = masking.MaskingFindings.model_validate_json(random.model_dump_json())
    assert again == random


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"few_steps": 20}, r"few_steps \(20\) must be less than many_steps \(20\)"),
        ({"eps_factors": "0.5"}, r"eps_factors \[0.5\] must contain a factor above 1"),
    ],
)
def test_attacks_that_nothing_can_be_compared_with_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        MaskingConfig.model_validate({**FIELDS, **changes})
