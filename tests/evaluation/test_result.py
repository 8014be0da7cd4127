"""Results of evaluations: intervals that follow from the flags, and files of earlier versions."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from scipy.stats import binomtest

from evaluation.engine.stages import version_attacks
from evaluation.result import EvaluationResult

VERSION_1 = """{
  "schema_version": 1,
  "attack": "autoattack-standard",
  "attack_package": "pyautoattack 0.2.0",
  "threat": {"norm": "linf", "eps": 0.01568627450980392},
  "split": "test",
  "data_hash": "da1ada1ada1a",
  "model_hash": "0de10de10de1",
  "config_hash": "c0ffeec0ffee",
  "seed": 0,
  "is_clean_correct": [true, true, false, true],
  "is_robust": [true, false, false, false],
  "broken_by": {"apgd-ce": 2, "apgd-t": 0, "fab-t": 0, "square": 0},
  "largest_perturbation": 0.01568627450980392,
  "seconds": 300.0
}
"""
"""As `rampart evaluate` wrote it until version 2."""


def version_2(**changes: Any) -> dict[str, Any]:
    """The same evaluation as it is written now, without its intervals."""
    attacks = version_attacks("standard", "linf", num_classes=12)
    fields = json.loads(VERSION_1) | {
        "schema_version": 2,
        "attacks": [attack.model_dump() for attack in attacks],
        "precision": "fp32",
    }
    del fields["seconds"]
    return fields | changes


def test_a_file_of_version_1_is_read() -> None:
    result = EvaluationResult.model_validate_json(VERSION_1)

    assert (result.schema_version, result.attacks, result.precision) == (2, (), "fp32")
    assert result == EvaluationResult.model_validate(version_2(attacks=()))
    assert (result.clean.correct, result.robust.correct, result.robust.n) == (3, 1, 4)


def test_a_file_of_version_2_survives() -> None:
    result = EvaluationResult.model_validate(version_2())

    assert len(result.attacks) == 4
    assert EvaluationResult.model_validate_json(result.model_dump_json()) == result


def test_intervals_are_wilsons_of_the_flags() -> None:
    result = EvaluationResult.model_validate(version_2())

    for found, right in ((result.clean_interval, 3), (result.robust_interval, 1)):
        expected = binomtest(right, 4).proportion_ci(method="wilson")
        assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 3}, "schema_version"),
        ({"seconds": 300.0}, "seconds"),
        ({"is_robust": [True, False, True, False]}, "robust and wrong without attack"),
    ],
)
def test_a_result_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        EvaluationResult.model_validate(version_2(**changes))
