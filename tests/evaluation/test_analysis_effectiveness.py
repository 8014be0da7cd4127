"""Effectiveness: no gap where one step suffices, and the published definition."""

import math
from typing import Any

import pytest
import torch
from linear_subjects import IMAGES, linear_model, quiet, subject_of, worst_losses
from pydantic import ValidationError
from tiny_task import CPU, LINF, tiny_images, trained_net

from evaluation.analyses import effectiveness
from evaluation.analyses.config import EffectivenessConfig
from evaluation.analyses.outcome import Subject
from trainers.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=2 / 255)


def config_of(**changes: Any) -> EffectivenessConfig:
    fields = {**IMAGES, "threat": THREAT, "steps": (1, 3), "oracle_steps": 8, "reach": 2.5}
    return EffectivenessConfig.model_validate({**fields, **changes})


def test_one_step_reaches_the_optimum_of_a_linear_model() -> None:
    model = linear_model(classes=2, seed=0)
    subject = subject_of(linear=model)

    outcome = effectiveness.run(subject, config_of(), report=quiet)

    (found,) = outcome.findings.models
    exact = worst_losses(model, subject, THREAT).double()
    assert found.oracle_loss == pytest.approx(float(exact.mean()), rel=1e-4)
    assert [at.gap for at in found.curve] == pytest.approx([0, 0], abs=1e-3)
    assert found.oracle.correct == int((exact < math.log(2)).sum())
    torch.testing.assert_close(
        torch.from_numpy(outcome.arrays["loss"][0, 0]), exact, rtol=1e-3, atol=1e-4
    )


def test_the_gap_between_the_optima_of_two_balls_is_the_closed_form() -> None:
    model = linear_model(classes=2, seed=0)
    subject = subject_of(linear=model)
    half = ThreatModel(norm="linf", eps=1 / 255)

    runs = [
        effectiveness.run(subject, config_of(threat=threat), report=quiet).arrays["loss"][0, -1]
        for threat in (half, THREAT)
    ]

    gap, _, _ = effectiveness.relative_gap(*map(torch.from_numpy, runs))
    exact = [float(worst_losses(model, subject, threat).mean()) for threat in (half, THREAT)]
    assert gap == pytest.approx(100 * (1 - exact[0] / exact[1]), rel=1e-3)


def test_the_gap_is_zero_where_pgd_is_the_oracle_itself() -> None:
    subject = Subject(models={"net": trained_net()}, images=tiny_images(40, seed=2), device=CPU)

    found = effectiveness.run(
        subject, config_of(threat=LINF, steps=(1, 8), oracle_steps=8), report=quiet
    )

    first, last = found.findings.models[0].curve
    assert (last.gap, last.gap_low, last.gap_high) == (0, 0, 0)
    assert last.robust == found.findings.models[0].oracle
    assert first.gap > 0


def test_every_checkpoint_has_its_own_curve() -> None:
    models = {"one": linear_model(classes=2, seed=0), "other": linear_model(classes=2, seed=1)}
    subject = subject_of(**models)

    both = effectiveness.run(subject, config_of(), report=quiet).findings.models

    alone = Subject(models={"other": models["other"]}, images=subject.images, device=CPU)
    assert [found.model for found in both] == ["one", "other"]
    assert both[1] == effectiveness.run(alone, config_of(), report=quiet).findings.models[0]


def test_batch_size_changes_no_loss() -> None:
    subject = Subject(models={"net": trained_net()}, images=tiny_images(40, seed=2), device=CPU)

    small, large = (
        effectiveness.run(subject, config_of(threat=LINF, batch_size=size), report=quiet)
        for size in (7, 40)
    )

    torch.testing.assert_close(
        torch.from_numpy(small.arrays["loss"]), torch.from_numpy(large.arrays["loss"])
    )


def test_the_interval_of_a_gap_is_that_of_a_ratio_of_paired_means() -> None:
    losses, oracle = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 4.0, 4.0])

    gap, low, high = effectiveness.relative_gap(losses, oracle)

    margin = 100 * 1.959964 * 1.0 / 4 / math.sqrt(3)  # residuals -1, 0, 1
    assert (gap, low, high) == pytest.approx((50, 50 - margin, 50 + margin))


def test_a_loss_in_proportion_to_the_oracles_leaves_no_doubt() -> None:
    oracle = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    assert effectiveness.relative_gap(0.75 * oracle, oracle) == pytest.approx((25, 25, 25))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": (2, 1)}, "steps must rise"),
        ({"steps": (1, 10)}, r"oracle_steps \(8\) must be at least the largest of steps \(10\)"),
        ({"reach": 0.0}, "greater than 0"),
    ],
)
def test_an_oracle_that_is_none_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config_of(**changes)


def test_a_loss_of_zero_is_refused() -> None:
    model = linear_model(classes=2, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e6)

    with pytest.raises(ValueError, match="must be above 0, got 0 for linear"):
        effectiveness.run(
            subject_of(linear=model),
            config_of(threat=ThreatModel(norm="linf", eps=1e-9)),
            report=quiet,
        )
