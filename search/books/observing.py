"""From the records of trials to what decisions see of them (`search/strategy/observed.py`)."""

from collections.abc import Iterable

from search.books.fidelity import goal_of
from search.books.records import TrialRecord
from search.config import ExperimentConfig
from search.space.constraints import measure
from search.strategy.config import LOWER_IS_BETTER, Objective
from search.strategy.observed import Observed, ObservedStatus
from trainers.metrics import Check

_STATUS: dict[str, ObservedStatus] = {"diagnosed": "stopped"}


def observe(experiment: ExperimentConfig, records: Iterable[TrialRecord]) -> list[Observed]:
    """Returns the trials as decisions see them."""
    return [_observe_one(experiment, record) for record in records]


def _observe_one(experiment: ExperimentConfig, record: TrialRecord) -> Observed:
    ladder = experiment.ladder
    values: dict[int, tuple[float, ...]] = {}
    for epoch, check in record.checks:
        level = ladder.level_of(epoch, epochs=record.config.epochs)
        if level is not None:
            values[level] = tuple(oriented(name, record, check) for name in experiment.objectives)
    return Observed(
        number=record.number,
        status=_STATUS.get(record.status, record.status),  # pyright: ignore[reportArgumentType]
        params=record.params,
        values=values,
        goal=goal_of(record, ladder),
        first=record.first,
        bracket=record.bracket,
    )


def oriented(name: Objective, record: TrialRecord, check: Check) -> float:
    """Returns what a check and its trial show of an objective, so that higher is better."""
    value = objective_value(name, record, check)
    return -value if name in LOWER_IS_BETTER else value


def objective_value(name: Objective, record: TrialRecord, check: Check) -> float:
    """Returns what a check and its trial show of an objective, in its own unit."""
    match name:
        case "robust":
            return check.robust.value
        case "clean":
            return check.clean.value
        case "unseen":
            return sum(one.value for one in check.unseen) / len(check.unseen)
        case "seconds":
            return seconds_of(record)
        case _:
            return measure(record.config)[name]


def seconds_of(record: TrialRecord) -> float:
    """Returns how long a trial trains to its last epoch at the pace of its latest training, its
    clean training once."""
    progress = [one for _, one in record.trainings if one.history][-1]
    pace = sum(epoch.seconds for epoch in progress.history) / len(progress.history)
    return progress.clean_seconds + pace * record.config.epochs
