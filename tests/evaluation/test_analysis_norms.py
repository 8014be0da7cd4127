"""Other norms: exact on a linear model, and no better together than each alone."""

import pytest
from linear_subjects import IMAGES, exactly_robust, linear_model, quiet, subject_of
from pydantic import ValidationError

from evaluation.analyses import norms
from evaluation.analyses.config import NormsConfig, StrongAttack
from evaluation.analyses.defaults import published_threats
from trainers.threat import ThreatModel

STRONG = StrongAttack(ce_steps=10, t_steps=20, targets=4)
LINF, L2 = ThreatModel(norm="linf", eps=1 / 255), ThreatModel(norm="l2", eps=0.06)


def config_of(*threats: ThreatModel) -> NormsConfig:
    return NormsConfig(**IMAGES, threats=threats, strong=STRONG)


def test_every_norm_and_their_union_are_exact_on_a_linear_model() -> None:
    model = linear_model(classes=5, seed=1)
    subject = subject_of(linear=model)

    outcome = norms.run(subject, config_of(LINF, L2), report=quiet)

    exact = [exactly_robust(model, subject, threat) for threat in (LINF, L2)]
    assert outcome.arrays["is_robust"].tolist() == [flags.tolist() for flags in exact]
    assert [row.robust.correct for row in outcome.findings.rows] == [int(e.sum()) for e in exact]
    assert outcome.findings.union.correct == int((exact[0] & exact[1]).sum())
    assert 0 < outcome.findings.union.correct < outcome.findings.clean.correct == 40


def test_the_same_threat_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="threats must differ"):
        config_of(LINF, LINF)


def test_the_published_threats_are_those_of_224_pixels_and_keep_their_budget_per_pixel() -> None:
    at_224 = [(threat.norm, threat.eps) for threat in published_threats(224)]
    at_56 = [threat.eps for threat in published_threats(56)]

    assert at_224 == [("linf", 4 / 255), ("l2", 2.0), ("l1", 75.0)]
    assert at_56 == [4 / 255, 0.5, 75 / 16]
