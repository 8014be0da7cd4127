"""Diagnoses: Debenedetti et al.'s (2023) public curves, and curves on both sides of each rule."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
from diagnosis_factory import DIAGNOSIS
from pydantic import ValidationError
from scipy.stats import binom

from evaluation.diagnoses import Diagnosis, ProbePoint, Training, diagnose
from evaluation.diagnosis_config import DiagnosisConfig

CURVES = Path(__file__).with_name("public_curves.csv")
IMAGENET = Training(num_classes=1000, warmup_epochs=10.0)
TEN = Training(num_classes=10, warmup_epochs=1.0)
Curve = tuple[ProbePoint, ...]


def public_curves() -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    with CURVES.open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            clean, pgd1, pgd10 = (float(row[name]) for name in ("clean", "pgd1", "pgd10"))
            epoch = int(row["epoch"])
            now = ProbePoint(epoch=epoch, n=50000, clean=clean, pgd1=pgd1, pgd10=pgd10)
            curves[row["run"]] = (*curves.get(row["run"], ()), now)
    return curves


def gap(point: ProbePoint) -> float:
    assert point.pgd1 is not None
    assert point.pgd10 is not None
    return 1 - point.pgd10 / point.pgd1


def prefixes(curve: Curve) -> list[Curve]:
    return [curve[: last + 1] for last in range(len(curve))]


def told(curve: Curve, training: Training = TEN) -> list[Diagnosis]:
    return list(diagnose(curve, training, DIAGNOSIS))


def at(epoch: int, **values: float) -> ProbePoint:
    return replace(ProbePoint(epoch=epoch, n=1000), **values)


def series(attack: str, *values: float) -> Curve:
    return tuple(at(epoch, **{attack: value}) for epoch, value in enumerate(values, start=1))


# The published curves


def test_fixture_holds_the_gaps_that_were_read_from_the_public_curves() -> None:
    bad = {point.epoch: gap(point) for point in public_curves()["xcit_s12_canonical"]}
    published = {10: 0.049, 20: 0.091, 30: 0.122, 50: 0.126, 70: 0.184, 100: 0.458}

    assert {epoch: bad[epoch] for epoch in published} == pytest.approx(published, abs=0.003)


def test_bad_public_curve_is_flagged_by_epoch_20_and_ended_by_epoch_30() -> None:
    curve = public_curves()["xcit_s12_canonical"]
    found = {part[-1].epoch: told(part, IMAGENET) for part in prefixes(curve)}

    assert found[10] == []
    assert [(one.name, one.ends_trial) for one in found[20]] == [("single-step gap", False)]
    assert [(one.name, one.ends_trial) for one in found[30]] == [("single-step gap", True)]
    assert found[30][0].reason == (
        "pgd10 accuracy 31.6% is 12.3% of pgd1's 36.1% below it at epoch 30 (n=50000), at least 12%"
    )


@pytest.mark.parametrize("run", ["xcit_s12", "resnet50_gelu", "convnext_tiny"])
def test_no_healthy_public_curve_is_ended(run: str) -> None:
    found = [one for part in prefixes(public_curves()[run]) for one in told(part, IMAGENET)]

    assert not any(one.ends_trial for one in found)
    assert {one.name for one in found} == ({"single-step gap"} if run == "resnet50_gelu" else set())


@pytest.mark.parametrize(("n", "epoch"), [(5000, 30), (1000, 70), (240, 90)])
def test_a_smaller_probe_ends_the_bad_curve_later(n: int, epoch: int) -> None:
    curve = tuple(replace(point, n=n) for point in public_curves()["xcit_s12_canonical"])

    ended = [c[-1].epoch for c in prefixes(curve) if any(d.ends_trial for d in told(c, IMAGENET))]

    assert ended[0] == epoch


@pytest.mark.parametrize("n", [240, 512, 2000])
@pytest.mark.parametrize("gap", [0.05, 0.096])
def test_chance_ends_fewer_than_1_in_100_healthy_trainings(n: int, gap: float) -> None:
    right = round(0.4 * n)  # of PGD-1; PGD-10 then breaks a binomial number of them
    points = [
        ProbePoint(epoch=20, n=n, pgd1=right / n, pgd10=(right - k) / n) for k in range(right + 1)
    ]
    ends = [any(one.ends_trial for one in told((point,))) for point in points]

    chance = sum(float(binom.pmf(k, right, gap)) for k in range(right + 1) if ends[k])

    assert ends[-1]
    assert chance < 0.01


# Both sides of each rule

ENDS = [
    ("non-start", (at(3, clean=0.249),)),  # odds of 3 over 9 others: 0.25
    ("non-start", (at(3, train_loss=0.971 * math.log(10)),)),
    ("non-start", (at(1, clean=0.1), at(2, clean=0.24), at(3, clean=0.2))),
    ("divergence", (at(1, train_loss=math.nan),)),
    ("divergence", (at(1, train_loss=math.inf),)),
    ("divergence", (at(2, clean=0.5, train_loss=2.01 * math.log(10)),)),
    ("catastrophic overfitting", series("pgd10", 0.4, 0.8, 0.599)),
    ("catastrophic overfitting", series("robust", 0.4, 0.8, 0.599)),
    ("catastrophic overfitting", series("pgd10", 0.3, 0.2, 0.209)),
    ("single-step gap", (at(2, n=20000, pgd1=0.5, pgd10=0.4399),)),
]
FLAGS = [
    ("single-step gap", (at(2, pgd1=0.5, pgd10=0.461), at(3, pgd1=0.5, pgd10=0.459))),
    ("label leaking", (at(1, clean=0.5, pgd1=0.523),)),  # standard error 0.0223
    ("robust overfitting", series("pgd10", 0.5, 0.45, 0.45)),  # twice the standard error: 0.0446
    ("robust overfitting", series("robust", 0.2, 0.5, 0.45, 0.45)),
    ("silent weak attack", (at(1, zero_gradients=0.011),)),
    ("silent weak attack", (at(1, delta_over_eps=0.49),)),
    ("silent weak attack", (at(1, loss_gain=0.0),)),
    ("silent weak attack", (at(1, clean=0.5, pgd10=0.491),)),
    ("silent weak attack", (at(2, pgd1=0.4, pgd10=0.445),)),  # twice the standard error: 0.0441
]
HEALTHY = [
    ("accuracy above a guess", (at(3, clean=0.251),)),
    ("loss below a guess", (at(3, train_loss=0.969 * math.log(10)),)),
    ("a guess within patience", (at(2, clean=0.1),)),
    ("a guess after better", (at(2, clean=0.26), at(3, clean=0.24))),
    ("a high loss beside accuracy", (at(3, clean=0.4, train_loss=0.99 * math.log(10)),)),
    ("a loss below divergence", (at(2, clean=0.5, train_loss=1.99 * math.log(10)),)),
    ("a high loss in warm-up", (at(1, train_loss=3.0 * math.log(10)),)),
    ("a fall that recovers", series("pgd10", 0.4, 0.45, 0.42)),
    ("a share of a handful", (at(1, pgd10=0.02), at(2, pgd10=0.012))),
    ("a wide gap in warm-up", (at(1, pgd1=0.5, pgd10=0.3),)),
    ("a wide gap of a handful", (at(2, pgd1=0.02, pgd10=0.017),)),
    ("a wide gap of a few hundred", (at(2, n=240, pgd1=0.5, pgd10=0.4),)),
    ("a gap below the end that falls", (at(2, pgd1=0.5, pgd10=0.441), at(3, pgd1=0.5, pgd10=0.45))),
    ("a rising gap below the flag", (at(2, pgd1=0.5, pgd10=0.48), at(3, pgd1=0.5, pgd10=0.461))),
    ("a gap of nothing", (at(2, pgd1=0.0, pgd10=0.0),)),
    ("one step within chance of clean", (at(1, clean=0.5, pgd1=0.522),)),
    ("one low measurement", series("pgd10", 0.5, 0.46, 0.45)),
    ("low, then high", series("robust", 0.5, 0.45, 0.456)),
    ("few zeros", (at(1, zero_gradients=0.01),)),
    ("a perturbation of fair size", (at(1, delta_over_eps=0.5),)),
    ("a gain", (at(1, loss_gain=0.001),)),
    ("a drop", (at(1, clean=0.5, pgd10=0.489),)),
    ("no drop of a guess", (at(1, clean=0.1, pgd10=0.1),)),
    ("ten steps within chance of one", (at(2, pgd1=0.4, pgd10=0.443),)),
    ("nothing measured", (at(1),)),
    ("measured before, not now", (at(1, pgd10=0.9), at(2, pgd10=0.1), at(3))),
    ("no point", ()),
]


@pytest.mark.parametrize(("name", "curve"), ENDS)
def test_a_curve_just_beyond_a_rule_that_ends_a_trial_ends_it(name: str, curve: Curve) -> None:
    found = told(curve)

    assert (found[0].name, found[0].ends_trial) == (name, True)


@pytest.mark.parametrize(("name", "curve"), FLAGS)
def test_a_curve_just_beyond_a_rule_that_flags_is_flagged(name: str, curve: Curve) -> None:
    assert [(one.name, one.ends_trial) for one in told(curve)] == [(name, False)]


@pytest.mark.parametrize("curve", [curve for _, curve in HEALTHY], ids=[why for why, _ in HEALTHY])
def test_a_curve_just_within_all_rules_is_healthy(curve: Curve) -> None:
    assert told(curve) == []


def test_absolute_fall_ends_a_training_whose_relative_fall_is_small() -> None:
    assert [one.name for one in told(series("pgd10", 0.9, 0.69))] == ["catastrophic overfitting"]
    assert told(series("pgd10", 0.9, 0.71)) == []


def test_what_ends_the_trial_comes_before_what_flags_it() -> None:
    curve = (at(2, clean=0.5, pgd1=0.7, pgd10=0.5), at(3, clean=0.5, pgd1=0.99, pgd10=0.05))

    found = told(curve)

    ends = [one.ends_trial for one in found]
    assert [one.name for one in found] == [
        "catastrophic overfitting",
        "single-step gap",
        "label leaking",
    ]
    assert ends == [True, True, False]
    assert found[0].reason.endswith("while pgd1 accuracy went from 70.0% to 99.0%")


# Monotone: a worse value never quiets an alarm


@pytest.mark.parametrize("clean", [0.3, 0.6])
def test_ever_lower_pgd10_accuracy_ends_a_trial_once_and_for_all(clean: float) -> None:
    before = at(5, clean=clean, pgd1=clean, pgd10=0.9 * clean)
    fall = [k / 1000 * clean for k in range(900, -1, -1)]

    ended = [
        any(one.ends_trial for one in told((before, at(6, clean=clean, pgd1=clean, pgd10=value))))
        for value in fall
    ]

    assert ended == sorted(ended)
    assert (ended[0], ended[-1]) == (False, True)


@pytest.mark.parametrize(
    ("values", "attribute"),
    [
        ([0.5 - k / 1000 for k in range(500)], "clean"),
        ([k / 100 for k in range(100, 1000)], "train_loss"),
        ([k / 1000 for k in range(1000)], "zero_gradients"),
        ([1 - k / 1000 for k in range(1000)], "delta_over_eps"),
        ([0.5 - k / 1000 for k in range(1000)], "loss_gain"),
    ],
)
def test_ever_worse_values_keep_an_alarm(values: list[float], attribute: str) -> None:
    alarms = [bool(told((at(3, **{attribute: value}),))) for value in values]

    assert alarms == sorted(alarms)
    assert (alarms[0], alarms[-1]) == (False, True)


def test_more_images_only_make_a_diagnosis_surer() -> None:
    for point in public_curves()["xcit_s12_canonical"]:
        ends = [
            any(one.ends_trial for one in told((replace(point, n=n),), IMAGENET))
            for n in (100, 1000, 10000, 100000)
        ]

        assert ends == sorted(ends)


# Refusals


def test_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"clean must be a fraction in \[0, 1\], got 43"):
        ProbePoint(epoch=1, n=100, clean=43.0)


@pytest.mark.parametrize("n", [None, 0])
def test_accuracy_without_its_number_of_images_is_refused(n: int | None) -> None:
    with pytest.raises(ValueError, match=f"pgd10 need n, the number of images, got {n}"):
        ProbePoint(epoch=1, n=n, pgd10=0.4)


def test_gap_that_ends_before_it_flags_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gap_flag \(0.2\) must be less than gap_stop"):
        DiagnosisConfig.model_validate({**DIAGNOSIS.model_dump(), "gap_flag": 0.2})
