"""Which axes of the space mattered: Optuna's PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution

from search.records import Status, TrialRecord

MIN_TRIALS = 4
TOP_FRACTION = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The share of each axis in telling the best trials from the rest, or why there is none."""

    shares: dict[str, float]
    """Dotted path -> share, falling; they sum to 1. Empty if `reason` says why."""
    n: int
    """Trials that were compared."""
    reason: str


def axis_importance(
    records: Sequence[TrialRecord], trials: Sequence[optuna.trial.FrozenTrial]
) -> Importance:
    """Compares the best third of the trials with all of them, axis by axis.

    PED-ANOVA knows only completed trials and looks only at their order. Stopped and diagnosed
    ones come in below all completed ones, ordered by robust accuracy at their last rung. Axes that
    only some branches have are compared where they exist (arXiv:2601.20800).

    Args:
        trials: Of the Optuna study; they know the sample as Optuna encoded it, and the space.
    """
    by_number = {trial.number: trial for trial in trials}
    scored = [
        (by_number[record.number], _score(record.status, check.robust.value))
        for record in records
        if record.status in ("completed", "stopped", "diagnosed")
        and (check := record.last_check)
        and record.number in by_number
    ]
    reason = _why_not([value for _, value in scored], [trial for trial, _ in scored])
    if reason:
        return Importance(shares={}, n=len(scored), reason=reason)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(params=t.params, distributions=t.distributions, value=value)
            for t, value in scored
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_FRACTION)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Importance(shares=shares, n=len(scored), reason="")


def _score(status: Status, robust_accuracy: float) -> float:
    """Returns a value that orders trials as `rank_trials` does, ties aside."""
    # Accuracies lie in [0, 1], so 2 less is below every completed trial.
    return robust_accuracy if status == "completed" else robust_accuracy - 2


def _why_not(values: Sequence[float], trials: Sequence[optuna.trial.FrozenTrial]) -> str:
    if len(values) < MIN_TRIALS:
        return f"needs {MIN_TRIALS} trials with a check, there are {len(values)}"
    spaces: list[dict[str, BaseDistribution]] = [trial.distributions for trial in trials]
    if len(axes := sorted({axis for space in spaces for axis in space})) < 2:
        return f"needs two axes to compare, the space has {len(axes)}"
    cut = sorted(values, reverse=True)[math.ceil(TOP_FRACTION * len(values)) - 1]
    if all(value >= cut for value in values):
        return "the trials tie: no best third stands out"
    return ""
