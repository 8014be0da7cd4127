"""What waits for a driver: interrupted trials, samples without a record, promised ones."""

# pyright: reportPrivateUsage=false
# Optuna's public `ask` takes the first that waits; a promise may stand behind others.

from collections.abc import Container, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from search.books.asking import RETRY_ATTR
from search.books.copying import COPIES_ATTR
from search.books.fidelity import goal_of
from search.books.records import TrialRecord
from search.books.telling import tell_end
from search.config import ExperimentConfig
from search.strategy.config import LadderConfig
from search.strategy.observed import Observed


def interrupted(
    records: Sequence[TrialRecord], trials: Sequence[Observed], ladder: LadderConfig
) -> list[TrialRecord]:
    """Returns the trials that were on their way to a rung when their driver ended."""
    highest = {trial.number: trial.highest for trial in trials}
    return [
        record
        for record in records
        if record.status == "paused" and goal_of(record, ladder) > highest[record.number]
    ]


def dangling(study: optuna.Study, known: Container[str]) -> list[Trial]:
    """Returns what was asked for by a process that died before it had filed a record.

    Args:
        known: The keys that have a record.
    """
    return [
        Trial(study, trial._trial_id)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if f"t{trial.number:05d}" not in known
    ]


def promised(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the samples that may begin although the budget's trials have: retries and copies."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return [trial for trial in waiting if {RETRY_ATTR, COPIES_ATTR} & {*trial.user_attrs}]


def take(study: optuna.Study, waiting: FrozenTrial) -> Trial:
    """Returns a queued trial, begun, as `Study.ask` would; the books must be ours."""
    study._storage.set_trial_state_values(waiting._trial_id, state=TrialState.RUNNING)
    return Trial(study, waiting._trial_id)


def tell_untold(
    study: optuna.Study, experiment: ExperimentConfig, records: Mapping[str, TrialRecord]
) -> None:
    """Tells the study what a killed driver only wrote into records."""
    for trial in study.get_trials(deepcopy=False):
        record = records.get(f"t{trial.number:05d}")
        if record is None or record.status in ("running", "paused"):
            continue
        went_on = trial.state == TrialState.PRUNED and record.status == "completed"
        if trial.state == TrialState.RUNNING or went_on:
            tell_end(study, experiment, record)
