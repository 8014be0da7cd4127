"""TPE on the rung that says most, asked anew for each trial: nothing outlives the question.

Optuna's TPE fitted on whatever value a trial ended with, partial or not, is worse than random
search beside ASHA (benchmarks/RESULTS.md). Here the model sees one fidelity at a time, as in BOHB
(Falkner et al. 2018, arXiv:1807.01774): the highest rung that enough trials have reached.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from search.space import Sample, Space, encode, suggest
from search.strategy.observed import Observed
from search.strategy.sampler_config import TpeConfig

LOWEST = -1e9
"""Of what failed or could not be built: the model avoids its neighbourhood."""


def propose(
    trials: Sequence[Observed],
    space: Space,
    sampler: TpeConfig,
    *,
    number: int,
    rejected: Sequence[Sample] = (),
) -> Sample:
    """Returns the sample of trial `number`: a function of the seed, the number and what was seen.

    Args:
        trials: All so far; those that are running elsewhere are kept at a distance.
        rejected: Samples that could not become trials; the model avoids their neighbourhood.
    """
    draw = np.random.default_rng([sampler.seed, number])
    seed = int(draw.integers(2**31))
    level = modelled_level(trials, at_least=sampler.min_observations)
    told = sum(bool(t.values) or t.status == "failed" for t in trials) + len(rejected)
    if level is None or told < sampler.startup_trials or draw.random() < sampler.random_share:
        return _ask([], space, RandomSampler(seed=seed), objectives=1)
    objectives = len(next(t for t in trials if level in t.values).values[level])
    seen = [_frozen(t, space, level=level, objectives=objectives) for t in trials]
    seen += [_infeasible(sample, space, objectives=objectives) for sample in rejected]
    return _ask([s for s in seen if s], space, _tpe(seed), objectives=objectives)


def modelled_level(trials: Sequence[Observed], *, at_least: int) -> int | None:
    """Returns the highest level that so many trials have reached; None where there is none."""
    levels = sorted({level for t in trials for level in t.values}, reverse=True)
    return next((k for k in levels if sum(k in t.values for t in trials) >= at_least), None)


def _tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=0,
            multivariate=True,
            group=True,  # axes that exist for some samples only are modelled where they do
            constant_liar=True,  # two trials at a time would otherwise be drawn as twins
        )


def _ask(
    seen: Sequence[FrozenTrial], space: Space, sampler: BaseSampler, *, objectives: int
) -> Sample:
    directions = [StudyDirection.MAXIMIZE] * objectives
    study = optuna.create_study(sampler=sampler, directions=directions)
    study.add_trials(seen)
    return suggest(study.ask(), space)


def _frozen(trial: Observed, space: Space, *, level: int, objectives: int) -> FrozenTrial | None:
    """Returns a trial as the model of a level sees it: with its values there, or as still running;
    None if it says nothing there."""
    if trial.status == "failed":
        return _infeasible(trial.params, space, objectives=objectives)
    if level in trial.values:
        values = [v if np.isfinite(v) else LOWEST for v in trial.values[level]]
        return _trial(trial.params, space, state=TrialState.COMPLETE, values=values)
    if trial.status == "running":
        return _trial(trial.params, space, state=TrialState.RUNNING, values=None)
    return None


def _infeasible(params: Mapping[str, Any], space: Space, *, objectives: int) -> FrozenTrial:
    return _trial(params, space, state=TrialState.COMPLETE, values=[LOWEST] * objectives)


def _trial(
    params: Mapping[str, Any], space: Space, *, state: TrialState, values: Sequence[float] | None
) -> FrozenTrial:
    fixed = FixedTrial({name: encode(value) for name, value in params.items()})
    suggest(fixed, space)
    return create_trial(
        state=state, values=values, params=fixed.params, distributions=fixed.distributions
    )
