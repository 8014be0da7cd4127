"""Signs of masking from numbers alone: both sides of each rule, and what silences a rule."""

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import GradientCounts, Measurements, Outcome, signs_of
from trainers.threat import ThreatModel

N = 256
CONFIG = MaskingConfig(
    split="test",
    images=N,
    batch_size=64,
    seed=0,
    threat=ThreatModel(norm="linf", eps=0.03),
    passes=5,
    logit_change=1e-4,
    probability_slack=1e-5,
    zero_gradients=0.0,
    apgd_steps=20,
    eps_factors=(0.5, 2.0),
    unbroken=0.01,
    few_steps=10,
    many_steps=100,
    square_queries=500,
    noise_draws=10,
    black_box_gain=0.002,
    loss_gap=0.04,
)
"""The numbers that the strings of the config name."""


def outcome(attack: str, right: int, eps: float = 0.03) -> Outcome:
    """The first `right` images are right, so that outcomes are nested."""
    return Outcome(attack=attack, eps=eps, is_right=tuple(i < right for i in range(N)))


def gradients(*, zero: int = 0, non_finite: int = 0) -> GradientCounts:
    return GradientCounts(loss="ce", n=200, zero=zero, non_finite=non_finite)


def sweep(*right: int) -> tuple[Outcome, ...]:
    return tuple(outcome("apgd_ce20", k, eps=0.01 * 2**i) for i, k in enumerate(right))


HEALTHY = Measurements(
    changed_predictions=0,
    logit_change=0.0,
    lowest_output=-3.0,
    highest_output=5.0,
    row_sum_error=2.0,
    ce_gradients=gradients(),
    dlr_gradients=gradients(),
    clean=outcome("clean", 200, eps=0.0),
    sweep=sweep(150, 100, 0),
    apgd_ce=outcome("apgd_ce20", 100),
    apgd_dlr=outcome("apgd_dlr20", 100),
    pgd_few=outcome("pgd10", 110),
    pgd_many=outcome("pgd100", 105),
    square=outcome("square500", 100),
    noise=outcome("noise10", 100),
)
PROBABILITY: dict[str, object] = {
    "lowest_output": 0.0,
    "highest_output": 1.0,
    "row_sum_error": 1e-6,
}


def told(fields: Mapping[str, object]) -> list[str]:
    measured = HEALTHY.model_copy(update=fields)
    return [sign.name for sign in signs_of(measured, CONFIG)]


# With n=256 and nested outcomes the 95 % interval of Bonett and Price excludes 0 from 6 images on
# (exact McNemar: 6 to none has p=0.031, 5 to none 0.063) and 4 % from 19 on; Wilson's excludes
# 0.2 % from 2 on and 1 % from 6 on.
BEYOND: list[tuple[str, dict[str, object]]] = [
    ("randomised output", {"changed_predictions": 1}),
    ("randomised output", {"logit_change": 1.1e-4}),
    ("probability output", PROBABILITY),
    ("non-finite gradients", {"ce_gradients": gradients(non_finite=1)}),
    ("non-finite gradients", {"dlr_gradients": gradients(non_finite=1)}),
    (
        "non-differentiable input",
        {"ce_gradients": gradients(zero=1), "dlr_gradients": gradients(zero=1)},
    ),
    ("saturated logits", {"ce_gradients": gradients(zero=1)}),
    ("unbroken at large eps", {"sweep": sweep(150, 100, 6)}),
    ("accuracy rises with eps", {"sweep": sweep(144, 150, 0)}),
    ("accuracy rises with eps", {"sweep": sweep(100, 103, 106, 0)}),
    ("more steps help the defence", {"pgd_few": outcome("pgd10", 99)}),
    ("black box beats white box", {"square": outcome("square500", 98)}),
    ("black box beats white box", {"noise": outcome("noise10", 98)}),
    (
        "imbalanced gradients",
        {
            "apgd_dlr": outcome("apgd_dlr20", 81),
            "square": outcome("square500", 81),
            "noise": outcome("noise10", 81),
        },
    ),
]
WITHIN: list[tuple[str, dict[str, object]]] = [
    ("logits that move by rounding", {"logit_change": 0.9e-4}),
    ("outputs below 0", PROBABILITY | {"lowest_output": -1.1e-5}),
    ("outputs above 1", PROBABILITY | {"highest_output": 1.1}),
    ("outputs that do not sum to 1", PROBABILITY | {"row_sum_error": 1.1e-5}),
    ("a handful at large eps", {"sweep": sweep(150, 100, 5)}),
    ("a rise by chance", {"sweep": sweep(145, 150, 0)}),
    ("more steps by chance", {"pgd_few": outcome("pgd10", 100)}),
    ("one image of Square", {"square": outcome("square500", 99)}),
    (
        "a gap that healthy networks have",
        {
            "apgd_dlr": outcome("apgd_dlr20", 82),
            "square": outcome("square500", 82),
            "noise": outcome("noise10", 82),
        },
    ),
    ("DLR weaker than cross-entropy", {"apgd_dlr": outcome("apgd_dlr20", 190)}),
]


@pytest.mark.parametrize(("name", "fields"), BEYOND)
def test_numbers_just_beyond_a_rule_are_its_sign_alone(
    name: str, fields: dict[str, object]
) -> None:
    assert told(fields) == [name]


@pytest.mark.parametrize("fields", [fields for _, fields in WITHIN], ids=[why for why, _ in WITHIN])
def test_numbers_just_within_all_rules_are_no_sign(fields: dict[str, object]) -> None:
    assert told(fields) == []


def test_images_of_square_and_of_noise_count_together_and_once() -> None:
    only_last = tuple(i < 99 for i in range(N))
    only_first = tuple(0 < i < 100 for i in range(N))
    square = Outcome(attack="square500", eps=0.03, is_right=only_last)

    assert told({"square": square, "noise": square}) == []
    assert told(
        {"square": square, "noise": Outcome(attack="noise10", eps=0.03, is_right=only_first)}
    ) == ["black box beats white box"]


def test_attacks_on_a_random_model_are_not_compared_but_its_rest_is_told() -> None:
    comparisons = {
        "sweep": sweep(100, 150, 50),
        "pgd_few": outcome("pgd10", 50),
        "square": outcome("square500", 20),
        "noise": outcome("noise10", 20),
    }

    assert told({**comparisons, "changed_predictions": 3}) == [
        "randomised output",
        "unbroken at large eps",
    ]


def test_saturation_explains_the_gap_between_the_losses() -> None:
    gap = {
        "apgd_dlr": outcome("apgd_dlr20", 20),
        "square": outcome("square500", 20),
        "noise": outcome("noise10", 20),
    }

    assert told({**gap, "ce_gradients": gradients(zero=150)}) == ["saturated logits"]


def test_reasons_carry_attack_accuracy_n_and_interval() -> None:
    measured = HEALTHY.model_copy(update={"pgd_few": outcome("pgd10", 80)})

    (sign,) = signs_of(measured, CONFIG)

    assert sign.reason == (
        "pgd10 accuracy is 31.2% (n=256), but pgd100 accuracy is 41.0% (n=256): 9.8% more, "
        "95 % interval 5.9% to 13.5%"
    )


# Refusals


def test_outcomes_of_other_images_are_refused() -> None:
    other = Outcome(attack="square500", eps=0.03, is_right=(True, False))

    with pytest.raises(ValidationError, match=r"of the same images, got \[2, 256\] images"):
        Measurements.model_validate({**dict(HEALTHY), "square": other})


def test_a_longer_pgd_that_is_shorter_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"few_steps \(100\) must be less than many_steps"):
        MaskingConfig.model_validate({**CONFIG.model_dump(), "few_steps": 100})


@pytest.mark.parametrize("factors", [(), (0.5, 1.0)])
def test_a_sweep_without_a_large_eps_is_refused(factors: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="must contain a factor above 1, such as 8"):
        MaskingConfig.model_validate({**CONFIG.model_dump(), "eps_factors": factors})
