"""Tells the Optuna study what became of trials: for its dashboard, and for samplers of Optuna's."""

# pyright: reportPrivateUsage=false
# A stored trial is written to by its id, which Optuna's public objects keep private.

from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.books.observing import objective_value
from search.books.records import TrialRecord
from search.books.study import REASON_ATTR
from search.config import ExperimentConfig
from search.live.dashboard import trial_columns
from trainers.metrics import Check

AGAIN_ATTR = "again"
"""Key of the trial whose end was told before it went on."""


def tell_check(study: optuna.Study, record: TrialRecord, epoch: int, check: Check) -> None:
    """Reports a rung's robust accuracy; Optuna takes none where there are several objectives."""
    stored = stored_trial(study, record.number)
    if len(study.directions) > 1 or stored.state.is_finished():
        return
    if epoch not in stored.intermediate_values:
        Trial(study, stored._trial_id).report(check.robust.value, step=epoch)


def tell_columns(study: optuna.Study, experiment: ExperimentConfig, record: TrialRecord) -> None:
    """Writes what the dashboard shows of a trial, as far as it has changed."""
    stored = stored_trial(study, record.number)
    if stored.state.is_finished():
        return
    known: Mapping[str, object] = stored.user_attrs
    devices = experiment.resources.devices
    for name, value in trial_columns(record, devices=devices).items():
        if known.get(name) != value:
            study._storage.set_trial_user_attr(stored._trial_id, name, value)


def tell_end(study: optuna.Study, experiment: ExperimentConfig, record: TrialRecord) -> None:
    """Ends a trial in the study: COMPLETE with its values, PRUNED, or FAIL.

    One that was PRUNED with the rest of a search, and went on when the budget grew, is told again,
    under another number: Optuna never opens an ended trial.
    """
    stored = stored_trial(study, record.number)
    values = _values(experiment, record) if record.status == "completed" else None
    if stored.state.is_finished():
        if (
            values is not None
            and stored.state != TrialState.COMPLETE
            and not _is_told(study, record)
        ):
            study.add_trial(_again(experiment, stored, record, values))
        return
    tell_columns(study, experiment, record)
    if values is not None:
        study.tell(record.number, values)
    elif record.status in ("stopped", "diagnosed", "paused"):
        study.tell(record.number, state=TrialState.PRUNED)
    else:
        Trial(study, stored._trial_id).set_user_attr(REASON_ATTR, record.reason)
        study.tell(record.number, state=TrialState.FAIL)


def stored_trial(study: optuna.Study, number: int) -> FrozenTrial:
    """Returns the trial of that number as the storage has it."""
    return study.get_trials(deepcopy=False)[number]


def _is_told(study: optuna.Study, record: TrialRecord) -> bool:
    """Whether a trial that ended twice is in the study under another number."""
    return any(t.user_attrs.get(AGAIN_ATTR) == record.key for t in study.get_trials(deepcopy=False))


def _values(experiment: ExperimentConfig, record: TrialRecord) -> list[float] | None:
    check = record.last_check
    if check is None:
        return None
    return [objective_value(name, record, check) for name in experiment.objectives]


def _again(
    experiment: ExperimentConfig, stored: FrozenTrial, record: TrialRecord, values: list[float]
) -> FrozenTrial:
    columns = trial_columns(record, devices=experiment.resources.devices)
    return create_trial(
        values=values,
        params=stored.params,
        distributions=stored.distributions,
        user_attrs={**stored.user_attrs, **columns, AGAIN_ATTR: record.key},
    )
