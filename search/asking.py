"""Asks the study for a sample: what is queued there, what TPE says of the rungs, or Optuna."""

from collections.abc import Sequence

import optuna
from optuna.trial import Trial, TrialState

from search.config import ExperimentConfig
from search.records import TrialRecord
from search.space import Sample, encode
from search.strategy.observed import Observed
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import propose
from search.study import ORIGIN_ATTR, RECIPE_ATTR

REJECTED_ATTR = "rejected"
"""Why a sample is no trial."""
RETRY_ATTR = "retry_of"
"""Key of the failed trial whose sample it is."""


def ask(experiment: ExperimentConfig, study: optuna.Study, trials: Sequence[Observed]) -> Trial:
    """Returns the next trial of the study, whose sample `search.space.suggest` then reads.

    A process that dies in here leaves a queued trial behind, which the next one takes.
    """
    sampler = experiment.sampler
    if isinstance(sampler, TpeConfig) and not is_queued(study):
        there = study.get_trials(deepcopy=False)
        sample = propose(
            trials, experiment.space, sampler, number=len(there), rejected=rejected_samples(study)
        )
        study.enqueue_trial({name: encode(value) for name, value in sample.items()})
    return study.ask()


def is_queued(study: optuna.Study) -> bool:
    """Whether a warm start, a retry or a sample waits in the study."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def queue_retry(study: optuna.Study, record: TrialRecord) -> bool:
    """Queues the sample of a failed trial again; returns whether it was not queued already."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if any(trial.user_attrs.get(RETRY_ATTR) == record.key for trial in waiting):
        return False
    kind, _, name = record.origin.partition(":")
    origin = {RECIPE_ATTR: name} if kind == "recipe" else {ORIGIN_ATTR: record.origin}
    study.enqueue_trial(
        {name: encode(value) for name, value in record.params.items()},
        user_attrs={RETRY_ATTR: record.key, **origin},
    )
    return True


def rejected_samples(study: optuna.Study) -> list[Sample]:
    """Returns the samples that could not become trials."""
    return [
        dict(trial.params)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        if REJECTED_ATTR in trial.user_attrs
    ]
