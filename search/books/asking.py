"""Asks the study for a sample: what is queued there, what TPE says of the rungs, or Optuna."""

from collections.abc import Sequence

import optuna
from optuna.trial import Trial, TrialState

from search.books.copying import copy_attrs
from search.books.records import TrialRecord
from search.books.study import ORIGIN_ATTR, RECIPE_ATTR
from search.config import ExperimentConfig
from search.space.space import Sample, encode
from search.strategy.observed import Observed
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import propose

REJECTED_ATTR = "rejected"
"""Why a sample is no trial."""
RETRY_ATTR = "retry_of"
"""Key of the failed trial whose sample it is."""


def ask(experiment: ExperimentConfig, study: optuna.Study, trials: Sequence[Observed]) -> Trial:
    """Returns the next trial of the study, whose sample `search.space.space.suggest` then reads.

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


def queue_failed(
    experiment: ExperimentConfig, study: optuna.Study, records: Sequence[TrialRecord]
) -> int:
    """Queues the sample of every failed trial again, once; returns how many are queued."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
    retried = {record.retry_of for record in records}
    retried |= {str(trial.user_attrs.get(RETRY_ATTR)) for trial in waiting}
    failed = [r for r in records if r.status == "failed" and r.key not in retried]
    for record in failed:
        _queue_retry(experiment, study, record)
    return len(failed)


def _queue_retry(experiment: ExperimentConfig, study: optuna.Study, record: TrialRecord) -> None:
    kind, _, name = record.origin.partition(":")
    origin = {RECIPE_ATTR: name} if kind == "recipe" else {ORIGIN_ATTR: record.origin}
    if record.replaces:
        rung = experiment.ladder.rungs[record.first - 1]
        origin |= copy_attrs(name, replaces=record.replaces, rung=rung)
    study.enqueue_trial(
        {name: encode(value) for name, value in record.params.items()},
        user_attrs={RETRY_ATTR: record.key, **origin},
    )


def rejected_samples(study: optuna.Study) -> list[Sample]:
    """Returns the samples that could not become trials."""
    return [
        dict(trial.params)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        if REJECTED_ATTR in trial.user_attrs
    ]
