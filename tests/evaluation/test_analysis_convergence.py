"""Convergence: every start of a linear model ends at its optimum, rising all the way."""

from typing import Any

import pytest
import torch
from linear_subjects import IMAGES, linear_model, quiet, subject_of, worst_losses
from pydantic import ValidationError
from tiny_task import CPU, LINF, tiny_images, trained_net

from evaluation.analyses import convergence
from evaluation.analyses.config import ConvergenceConfig
from evaluation.analyses.outcome import Subject
from trainers.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=2 / 255)


def config_of(**changes: Any) -> ConvergenceConfig:
    fields = {"threat": THREAT, "points": 10, "starts": 3, "steps": (0, 1, 5, 14), "step": 0.15}
    return ConvergenceConfig.model_validate({**IMAGES, **fields, **changes})


def test_every_start_ends_at_the_optimum_of_a_linear_model() -> None:
    model = linear_model(classes=2, seed=0)
    subject = subject_of(linear=model)

    outcome = convergence.run(subject, config_of(), report=quiet)

    loss = torch.from_numpy(outcome.arrays["loss"])  # (steps, points, starts)
    exact = worst_losses(model, subject, THREAT)[:10].double()
    assert loss.shape == (4, 10, 3)
    torch.testing.assert_close(loss[-1], exact[:, None].expand(10, 3), rtol=1e-3, atol=1e-5)
    assert bool((loss.diff(dim=0) >= 0).all())  # 14 steps of 0.15 eps cross the ball
    assert outcome.findings.largest_spread < 1e-3 < max(outcome.findings.steps[0].spreads)


def test_the_findings_summarise_the_array() -> None:
    subject = Subject(models={"net": trained_net()}, images=tiny_images(40, seed=2), device=CPU)

    outcome = convergence.run(subject, config_of(threat=LINF), report=quiet)

    loss = torch.from_numpy(outcome.arrays["loss"])
    for at, row in zip(outcome.findings.steps, loss, strict=True):
        assert at.mean == pytest.approx(float(row.mean()))
        assert at.points == pytest.approx(row.mean(dim=1).tolist())
        assert at.spreads == pytest.approx((row.max(dim=1)[0] - row.min(dim=1)[0]).tolist())


def test_points_are_the_first_images_that_are_right_without_attack() -> None:
    images = tiny_images(40, seed=2)
    subject = Subject(models={"net": trained_net()}, images=images, device=CPU)

    found = convergence.run(subject, config_of(threat=LINF, steps=(0,)), report=quiet).findings

    said = trained_net()(images.floats(torch.arange(40))).argmax(dim=1)
    right = (said == images.labels).nonzero().squeeze(1).tolist()
    assert list(found.image) == right[:10]


def test_noting_more_steps_on_the_way_changes_none() -> None:
    subject = Subject(models={"net": trained_net()}, images=tiny_images(40, seed=2), device=CPU)

    few, many = (
        convergence.run(subject, config_of(threat=LINF, steps=steps), report=quiet)
        for steps in ((6,), (0, 2, 3, 6))
    )

    assert few.arrays["loss"][-1].tolist() == many.arrays["loss"][-1].tolist()


def test_more_points_than_right_images_are_refused() -> None:
    subject = subject_of(linear=linear_model(classes=2, seed=0))

    with pytest.raises(ValueError, match=r"points \(50\) must not exceed .*, 40 of 40; ask"):
        convergence.run(subject, config_of(points=50), report=quiet)


def test_steps_that_do_not_rise_are_refused() -> None:
    with pytest.raises(ValidationError, match="steps must rise"):
        config_of(steps=(0, 5, 5))
