"""TPE on what each trial is expected to show at the end, asked anew for each trial.

Nothing outlives the question, so a resumed search goes on as it would have. The two other ways that
benchmarks/RESULTS.md compares: Optuna's TPE told whatever a trial ended with, as Ray's users have
it, and TPE on the highest rung alone (BOHB's rule), which knows few trials. With several objectives
each trial is asked for in a direction of its own, so that trials spread along the front (ParEGO).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.space.space import Sample, Space, as_optuna, encode, suggest
from search.strategy.expectation import expected_values
from search.strategy.observed import Observed
from search.strategy.ranking import in_direction
from search.strategy.sampler_config import TpeConfig

CANDIDATES = 96
"""That the model draws, to propose the best of; Optuna's 24 fall behind (RESULTS.md)."""
ATTEMPTS = 12
REJECTED_SEEN = 100
"""The latest samples that could be no trials, of which the model is told."""
_OVER = ("failed", "stopped")
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

    A sample that was a trial already is drawn again, from wider and wider around, until one is new
    or there hardly is any.

    Args:
        trials: All so far; those that are running elsewhere are kept at a distance.
        rejected: Samples that could not become trials; the model avoids their neighbourhood.
    """
    draw = np.random.default_rng([sampler.seed, number])
    told = sum(bool(t.values) or t.status in _OVER for t in trials) + len(rejected)
    is_random = told < sampler.startup_trials or draw.random() < sampler.random_share
    there = [t for t in trials if t.values]
    seen: list[FrozenTrial] = []
    if there and not is_random:
        directions = draw.exponential(size=len(there[0].values[there[0].highest]))
        weights = directions / directions.sum()
        seen = _seen(trials, space, sampler, rejected, weights=weights.tolist())
    known = [_encoded(params) for params in (*(t.params for t in trials), *rejected)]
    sample: Sample = {}
    for attempt in range(ATTEMPTS):
        seed = int(draw.integers(2**31))
        if is_random or not there:
            sample = _ask([], space, RandomSampler(seed=seed))
        else:
            # The fewer candidates there are to choose from, the wider it draws.
            candidates = max(1, CANDIDATES // 4**attempt)
            sample = _ask(seen, space, _tpe(seed, candidates))
        if _encoded(sample) not in known:
            break
    return sample


def _seen(
    trials: Sequence[Observed],
    space: Space,
    sampler: TpeConfig,
    rejected: Sequence[Sample],
    *,
    weights: Sequence[float],
) -> list[FrozenTrial]:
    """Returns the trials as the model sees them: at the end, as failures, or as still running.

    Args:
        weights: Of the objectives.
    """
    there = [t for t in trials if t.values and t.status != "failed"]
    at_end = dict(zip((t.number for t in there), _at_end(there, sampler, weights), strict=True))
    found: list[FrozenTrial] = []
    for trial in trials:
        if trial.status == "failed" or (trial.status == "stopped" and not trial.values):
            found.append(_trial(trial.params, space, value=LOWEST))
        elif trial.values:
            value = at_end[trial.number]
            found.append(_trial(trial.params, space, value=value if np.isfinite(value) else LOWEST))
        elif trial.status == "running":
            found.append(_trial(trial.params, space, value=None))
    return found + [_trial(sample, space, value=LOWEST) for sample in rejected[-REJECTED_SEEN:]]


def _at_end(
    there: Sequence[Observed], sampler: TpeConfig, weights: Sequence[float]
) -> Sequence[float]:
    """Returns what each trial is expected to show at the end, of several objectives as one."""
    if not there:
        return []
    expected = [
        expected_values(there, objective=o, at_least=sampler.min_observations)
        for o in range(len(weights))
    ]
    values = [tuple(of_one[t.number] for of_one in expected) for t in there]
    if len(weights) == 1:
        return [value for (value,) in values]
    return in_direction(values, weights)


def _encoded(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: encode(value) for name, value in params.items()}


def _tpe(seed: int, candidates: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=0,
            n_ei_candidates=candidates,
            multivariate=True,
            group=True,  # axes that exist for some samples only are modelled where they do
            constant_liar=True,  # two trials at a time would otherwise be drawn as twins
        )


def _ask(seen: Sequence[FrozenTrial], space: Space, sampler: BaseSampler) -> Sample:
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.add_trials(seen)
    return suggest(study.ask(), space)


def _trial(params: Mapping[str, Any], space: Space, *, value: float | None) -> FrozenTrial:
    """Returns a trial that is complete, or still running if it has no value."""
    fixed = as_optuna(params, space)
    return create_trial(
        state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
        value=value,
        params=fixed.params,
        distributions=fixed.distributions,
    )
