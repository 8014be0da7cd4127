"""Which axes of the space mattered, by Optuna: PED-ANOVA, and fANOVA beside it.

PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) compares the best third of the trials with all of
them along each axis. fANOVA (Hutter et al. 2014, ICML, PMLR 32:754) fits a forest to all and asks
for the share of its variance that each axis explains alone. Both see only the order of the trials
by one objective.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.importance import (
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FixedTrial, create_trial

from search.books.observing import oriented
from search.books.records import TrialRecord
from search.results.table import standing
from search.space.space import Space, as_optuna
from search.strategy.config import Objective

Method = Literal["PED-ANOVA", "fANOVA"]
MIN_TRIALS = 4
TOP_FRACTION = 1 / 3
SCORED = ("completed", "paused", "stopped", "diagnosed")


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The share of each axis in what makes trials good, or why there is none."""

    method: Method
    objective: Objective
    shares: dict[str, float]
    """Dotted path -> share, falling; they sum to 1. Empty if `reason` says why."""
    n: int
    """Trials that were compared."""
    reason: str


def axis_importance(
    records: Sequence[TrialRecord], space: Space, *, objective: Objective, method: Method
) -> Importance:
    """Tells how much each axis matters for the order of the trials.

    Trials that ended early come in below all completed ones, a higher rung above a lower one. Axes
    that only some branches have are compared where they exist (arXiv:2601.20800) by PED-ANOVA;
    fANOVA needs all axes in all trials, and scikit-learn.
    """
    placed = [
        (as_optuna(record.params, space), (*place[:-1], oriented(objective, record, check)))
        for record in records
        if record.status in SCORED and (check := record.last_check) and (place := standing(record))
    ]
    trials = [trial for trial, _ in placed]
    places = sorted({place for _, place in placed})
    ranks = [float(places.index(place)) for _, place in placed]
    reason = _why_not(ranks, trials) or (_why_no_forest(trials) if method == "fANOVA" else "")
    shares = {} if reason else _shares(trials, ranks, method)
    return Importance(
        method=method, objective=objective, shares=shares, n=len(trials), reason=reason
    )


def _shares(
    trials: Sequence[FixedTrial], ranks: Sequence[float], method: Method
) -> dict[str, float]:
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            create_trial(params=t.params, distributions=t.distributions, value=rank)
            for t, rank in zip(trials, ranks, strict=True)
        ]
    )
    evaluator = (
        FanovaImportanceEvaluator(seed=0)
        if method == "fANOVA"
        else PedAnovaImportanceEvaluator(target_quantile=TOP_FRACTION)
    )
    return get_param_importances(study, evaluator=evaluator)


def _why_not(ranks: Sequence[float], trials: Sequence[FixedTrial]) -> str:
    if len(ranks) < MIN_TRIALS:
        return f"needs {MIN_TRIALS} trials with a check, there are {len(ranks)}"
    spaces: list[dict[str, BaseDistribution]] = [trial.distributions for trial in trials]
    if len(axes := sorted({axis for space in spaces for axis in space})) < 2:
        return f"needs two axes to compare, the space has {len(axes)}"
    cut = sorted(ranks, reverse=True)[math.ceil(TOP_FRACTION * len(ranks)) - 1]
    if all(rank >= cut for rank in ranks):
        return "the trials tie: no best third stands out"
    return ""


def _why_no_forest(trials: Sequence[FixedTrial]) -> str:
    """Returns why fANOVA cannot be asked; empty if it can."""
    spaces: list[set[str]] = [set(trial.distributions) for trial in trials]
    if some := sorted(set.union(*spaces) - set.intersection(*spaces)):
        return f"fANOVA needs every axis in every trial, and only some have {', '.join(some)}"
    try:
        FanovaImportanceEvaluator(seed=0)
    except ImportError:
        return "fANOVA needs scikit-learn, which is not installed: pip install scikit-learn"
    return ""
