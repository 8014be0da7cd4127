"""What a check at a rung means for its trial, and how it goes on from there."""

import time
from collections.abc import Sequence
from typing import Any

from search.books.diagnosing import diagnose_history, diagnosis_text, first_end, latest_of_each
from search.books.fidelity import goal_of
from search.books.observing import objective_value
from search.books.records import RungTraining, TrialRecord
from search.books.spending import HOUR_S
from search.config import ExperimentConfig
from search.resources import WorkersConfig
from search.strategy.ladder import next_level, verdict
from search.strategy.observed import Observed
from trainers.config import TrialConfig
from trainers.metrics import Check, Progress


def begun(record: TrialRecord, workers: WorkersConfig, *, driver: str) -> TrialRecord:
    """Returns a trial as it is when a driver sets out with it."""
    update = {
        "status": "running",
        "reason": "",
        "sessions": record.sessions + 1,
        "started_at": time.time(),
        "finished_at": None,
        "driver": driver,
        "devices": workers.devices,
    }
    return record.model_copy(update=update)


def reported(
    experiment: ExperimentConfig,
    training: TrialConfig,
    record: TrialRecord,
    progress: Progress,
    *,
    node: str,
) -> TrialRecord:
    """Returns a trial with what its training told: running, diagnosed, or stopped as over time.

    Args:
        training: What takes the trial to its goal.
        progress: With the whole history of that training.
    """
    startup = record.startup_s
    if startup is None and record.sessions == 1 and record.started_at is not None:
        startup = progress.first_step_at - record.started_at - progress.clean_seconds
    found = diagnose_history(training, progress.history, experiment.diagnosis)
    update = {
        "progress": progress,
        "startup_s": startup,
        "node": node,
        "diagnoses": latest_of_each({0: record.diagnoses, **found}),
    }
    now = record.model_copy(update=update)
    if failure := first_end(found):
        end = {"status": "diagnosed", "reason": diagnosis_text(failure)}
        return now.model_copy(update=end)
    return now.model_copy(update=_over_time(experiment, now))


def judge(
    experiment: ExperimentConfig,
    trials: Sequence[Observed],
    record: TrialRecord,
    epoch: int,
    check: Check,
) -> TrialRecord:
    """Returns a running trial as it is after a check: running, paused or stopped.

    Args:
        trials: All of the search; this one has its values already.
    """
    ladder = experiment.ladder
    level = ladder.level_of(epoch, epochs=record.config.epochs)
    if level is None or level >= ladder.top:
        return record
    if check.missed is not None:
        return record.model_copy(update={"status": "stopped", "reason": _missed(epoch, check)})
    found = verdict(trials, ladder, number=record.number, level=level)
    if found == "go_on":
        if level < goal_of(record, ladder):
            return record
        own = next(trial for trial in trials if trial.number == record.number)
        climbing = climb(experiment, record, next_level(own, ladder))
        # A rung of its own is another training: this one is over.
        status = "running" if ladder.kind == "asha" else "paused"
        return climbing.model_copy(update={"status": status})
    reason = _low(experiment, trials, record, epoch, check)
    status = "paused" if found == "pause" else "stopped"
    gave_way_at = epoch if ladder.decide == "pbt" else 0
    # The goal lies above where a rung was added while the trial was on its way.
    update = {"status": status, "reason": reason, "goal": epoch, "gave_way_at": gave_way_at}
    return record.model_copy(update=update)


def climb(experiment: ExperimentConfig, record: TrialRecord, level: int) -> TrialRecord:
    """Returns a trial on its way from the rung that it stands on to `level`."""
    ladder, epochs = experiment.ladder, record.config.epochs
    goal = ladder.epoch_of(level, epochs=epochs)
    if ladder.kind == "asha" or record.progress is None:
        return record.model_copy(update={"goal": goal})
    stands = epochs if record.goal is None else record.goal
    done = RungTraining(rung=stands, epochs_before=record.epochs_before, progress=record.progress)
    update = {
        "goal": goal,
        "below": (*record.below, done),
        "progress": None,
        "epochs_before": stands if ladder.survivors == "continue" else 0,
    }
    return record.model_copy(update=update)


def _over_time(experiment: ExperimentConfig, record: TrialRecord) -> dict[str, Any]:
    """Returns how a trial that has had its time ends; nothing while it has some."""
    limit = experiment.budget.trial_hours
    hours = (record.train_seconds + record.check_seconds) / HOUR_S
    if limit is None or hours < limit or record.epochs >= record.config.epochs:
        return {}
    reason = f"budget.trial_hours = {limit:g} is over at epoch {record.epochs} ({hours:.3g})"
    return {"status": "stopped", "reason": reason}


def _missed(epoch: int, check: Check) -> str:
    return (
        f"rung {epoch}: robust accuracy {check.robust.value:.3f} on the first {check.robust.n} "
        f"images leaves {check.missed:.3f}, of the last that would go on, out of reach"
    )


def _low(
    experiment: ExperimentConfig,
    trials: Sequence[Observed],
    record: TrialRecord,
    epoch: int,
    check: Check,
) -> str:
    ladder = experiment.ladder
    level = ladder.level_of(epoch, epochs=record.config.epochs)
    there = sum(level in t.values and t.bracket == record.bracket for t in trials)
    shown = ", ".join(
        f"{_NAMES.get(name, name)} {objective_value(name, record, check):.3f}"
        for name in experiment.objectives
    )
    if ladder.decide == "pbt":
        return f"rung {epoch}: {shown} is among the worst 1/{ladder.reduction} of {there}"
    if ladder.decide == "median":
        return f"rung {epoch}: {shown} is below the median of the other {there - 1}"
    return f"rung {epoch}: {shown} is not among the best 1/{ladder.reduction} of {there}"


_NAMES = {"robust": "robust accuracy", "clean": "clean accuracy", "unseen": "unseen accuracy"}
