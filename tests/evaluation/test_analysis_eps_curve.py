"""The eps curve: exact on a linear model, honest about an attack that fails."""

import pytest
import torch
from linear_subjects import IMAGES, exactly_robust, linear_model, quiet, subject_of
from pydantic import ValidationError
from torch import Tensor, nn

from evaluation.analyses import eps_curve
from evaluation.analyses.config import EpsCurveConfig, StrongAttack
from evaluation.analyses.outcome import Subject
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

STRONG = StrongAttack(ce_steps=10, t_steps=20, targets=4)


def config_of(*eps: float | str, norm: str = "linf", images: int = 40) -> EpsCurveConfig:
    fields = {**IMAGES, "norm": norm, "eps": eps, "strong": STRONG, "images": images}
    return EpsCurveConfig.model_validate(fields)


def test_the_curve_of_a_linear_model_is_exact_and_reaches_zero() -> None:
    model = linear_model(classes=5, seed=0)
    subject = subject_of(linear=model)
    config = config_of("0.5/255", "1/255", "3/255", "6/255", "10/255")

    found = eps_curve.run(subject, config, report=quiet).findings

    exact = [int(exactly_robust(model, subject, threat).sum()) for threat in config.threats]
    assert [point.robust.correct for point in found.points] == exact[: len(found.points)]
    assert exact[0] > exact[1] > exact[2] > exact[3] == 0
    assert len(found.points) == 4  # nothing stands that 10/255 could break
    assert found.reaches_zero
    assert found.falls_monotonically
    assert found.clean.correct == 40


def test_a_curve_that_ends_too_early_does_not_reach_zero() -> None:
    subject = subject_of(linear=linear_model(classes=5, seed=0))

    found = eps_curve.run(subject, config_of("1/255"), report=quiet).findings

    assert not found.reaches_zero


class ShellModel(nn.Module):
    """Wrong between 0.5 and 2 grey levels from one image, right beyond, and flat everywhere."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor) -> Tensor:
        distance = 255 * (x.detach() - self.image).flatten(1).abs().amax(dim=1)
        is_wrong = (distance > 0.5) & (distance < 2)
        return nn.functional.one_hot(is_wrong.long(), 5) + 0 * x.flatten(1).sum(dim=1, keepdim=True)


def test_an_attack_without_slopes_does_not_reach_zero_where_a_smaller_eps_would() -> None:
    images = ImageSet(
        images=torch.full((1, 3, 8, 8), 100, dtype=torch.uint8), labels=torch.zeros(1).long()
    )
    model = ShellModel(images.floats(torch.arange(1)))
    subject = Subject(models={"shell": model}, images=images, device=torch.device("cpu"))

    blind = eps_curve.run(subject, config_of("4/255", images=1), report=quiet).findings
    broken = eps_curve.run(subject, config_of("1/255", "4/255", images=1), report=quiet).findings

    assert not blind.reaches_zero  # the attack sees no slope
    assert broken.reaches_zero


def test_nested_flags_count_what_each_eps_alone_missed() -> None:
    clean = torch.tensor([True, True, True, False])
    alone = torch.tensor([[True, True, False, False], [False, True, True, False]])

    found = eps_curve.findings_of("attack", (0.1, 0.2), clean, alone)

    assert [point.robust.correct for point in found.points] == [2, 1]
    assert [point.alone.correct for point in found.points] == [2, 2]
    assert [point.missed for point in found.points] == [0, 1]
    assert found.falls_monotonically
    assert not found.reaches_zero


def test_an_accuracy_that_rises_with_eps_is_said_to() -> None:
    alone = torch.tensor([[True, False], [True, True]])

    found = eps_curve.findings_of("attack", (0.1, 0.2), torch.tensor([True, True]), alone)

    assert not found.falls_monotonically
    assert [point.robust.correct for point in found.points] == [1, 1]


@pytest.mark.parametrize(
    ("eps", "words"),
    [
        ((0.2, 0.1), "eps must rise"),
        ((0.1, 0.1), "eps must rise"),
        ((4.0,), "did you mean '4/255'"),
    ],
)
def test_a_list_of_eps_that_makes_no_curve_is_refused(eps: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config_of(*eps)


def test_a_threat_of_each_eps_has_the_norm_of_the_config() -> None:
    threats = config_of("0.5", "2", norm="l2").threats

    assert threats == (ThreatModel(norm="l2", eps=0.5), ThreatModel(norm="l2", eps=2.0))
