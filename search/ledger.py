"""The books of a search: asks the study for trials, files what they report, decides, tells.

The study and one record per trial are the source of truth, written before anything is announced; a
resumed search opens the same books. No Ray here: `search/cluster` only carries messages.
"""

import time
from collections.abc import Callable

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from search.asha import keeps_going
from search.candidate import build_trial
from search.config import ExperimentConfig
from search.constraints import excess, measure, violations
from search.diagnosing import diagnose_history, diagnosis_text, first_end, latest_of_each
from search.errors import explain
from search.folder import SearchFolder
from search.recipes import RECIPES
from search.records import TrialRecord, read_records, write_record
from search.rungs import rung_scores, write_rung_scores
from search.space import suggest
from search.study import REASON_ATTR, RECIPE_ATTR, set_constraints
from trainers.config import TrialConfig, config_hash
from trainers.metrics import Check, Progress

MAX_REJECTED = 1000
"""Samples beyond a constraint, in a row, after which a search ends."""


class Ledger:
    """One search in progress. A single process writes it (see `search/lock.py`)."""

    def __init__(
        self,
        folder: SearchFolder,
        experiment: ExperimentConfig,
        study: optuna.Study,
        *,
        on_change: Callable[[list[TrialRecord]], None],
    ) -> None:
        """Opens the books; `on_change` sees all records after every change."""
        self._folder = folder
        self._experiment = experiment
        self._study = study
        self._on_change = on_change
        self.stuck = ""
        """Why no more trials come although the budget is not spent; empty if they do."""
        self._last_rejection = ""
        self._records = {record.key: record for record in read_records(folder.trials)}
        self._scores = rung_scores(self._records.values(), rungs=experiment.ladder.rungs)
        write_rung_scores(folder.rung_scores, self._scores)  # a kill may have come before
        self._settle()
        self._unfinished = [
            trial._trial_id  # pyright: ignore[reportPrivateUsage]
            for trial in study.get_trials(states=(TrialState.RUNNING,))
        ]

    def __getstate__(self) -> dict[str, object]:
        """Keeps nothing: Tune pickles what it is given into files that no resume reads."""
        return {}

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return sorted(self._records.values(), key=lambda record: record.number)

    @property
    def is_finished(self) -> bool:
        """Whether every trial of the budget has ended."""
        ended = [record for record in self._records.values() if record.status != "running"]
        return not self._unfinished and len(ended) >= self._experiment.budget.trials

    def next_trial(self) -> TrialRecord | None:
        """Returns the next trial to run, unfinished ones first; None when the budget is spent.

        Samples beyond a constraint never become trials: the sampler is told, and asked again.
        Returns None, too, when it knows no other; `stuck` then says so.
        """
        for _ in range(MAX_REJECTED):
            trial = self._next_asked()
            if trial is None:
                return None
            if record := self._open(trial):
                return record
        self.stuck = (
            f"the sampler proposed {MAX_REJECTED} samples in a row that cannot be trials (the last "
            f"one: {self._last_rejection}); start anew with wider constraints or another space"
        )
        return None

    def _next_asked(self) -> optuna.trial.Trial | None:
        if self._unfinished:
            # Re-attaches to the stored trial: `suggest_*` answers with the stored parameters.
            return optuna.trial.Trial(self._study, self._unfinished.pop(0))
        if len(self._records) >= self._experiment.budget.trials:
            return None
        return self._study.ask()

    def report(self, key: str, progress: Progress, *, node: str) -> bool:
        """Files a report, which carries the whole history; returns whether the trial goes on."""
        before = self._records[key]
        if before.status != "running":
            return False
        found = diagnose_history(before.config, progress.history, self._experiment.diagnosis)
        update = {
            "progress": progress,
            "startup_s": _startup_seconds(before, progress),
            "node": node,
            "diagnoses": latest_of_each(found),
        }
        record = before.model_copy(update=update)
        stop_reason = ""
        for epoch, check in record.checks:
            if epoch > before.epochs:
                self._report_to_study(record.number, epoch, check)
                stop_reason = stop_reason or self._stop_reason(record, epoch, check)
        if failure := first_end(found):
            end = {"status": "diagnosed", "reason": diagnosis_text(failure)}
        elif stop_reason:
            end = {"status": "stopped", "reason": stop_reason}
        else:
            self._write(record)
            return True
        self._close(record.model_copy(update=end))
        return False

    def finish(self, key: str) -> None:
        """Files that the trial's driver ended without an error."""
        record = self._records[key]
        if record.status != "running":
            return
        if record.epochs < record.config.epochs:
            self.fail(key, f"ended after epoch {record.epochs} of {record.config.epochs}", "")
        else:
            self._close(record.model_copy(update={"status": "completed"}))

    def fail(self, key: str, reason: str, error: str) -> None:
        """Files a failure as a result; the sampler is told that the trial failed."""
        record = self._records[key]
        if record.status == "running":
            update = {"status": "failed", "reason": reason, "error": error}
            self._close(record.model_copy(update=update))

    def _open(self, trial: optuna.trial.Trial) -> TrialRecord | None:
        """Files the trial as running; returns None if it violates a constraint."""
        params = suggest(trial, self._experiment.space)
        recipe = trial.user_attrs.get(RECIPE_ATTR)
        try:
            config = build_trial(
                self._experiment.base,
                self._experiment.space,
                params,
                recipe=RECIPES[recipe] if recipe else None,
            )
        except ValidationError as error:  # between the ends of its axes, which were tried at load
            self._reject(trial, "; ".join(explain(error, TrialConfig)))
            return None
        key = f"t{trial.number:05d}"
        if key in self._records:
            old = self._records[key]
            update = {"sessions": old.sessions + 1, "started_at": time.time()}
            self._write(old.model_copy(update=update))
            return self._records[key]
        if self._is_beyond(trial, config):
            return None
        record = TrialRecord(
            key=key,
            number=trial.number,
            origin=f"recipe:{recipe}" if recipe else self._experiment.sampler.name,
            params=params,
            config=config,
            config_hash=config_hash(config),
            status="running",
            reason="",
            error="",
            sessions=1,
            node="",
            started_at=time.time(),
            startup_s=None,
            finished_at=None,
            progress=None,
        )
        self._write(record)
        return record

    def _is_beyond(self, trial: optuna.trial.Trial, config: TrialConfig) -> bool:
        """Tells the study how far the trial is beyond each constraint; ends it if one is."""
        constraints = self._experiment.constraints
        if not constraints:
            return False
        try:
            values = measure(config)
        except ValueError as error:  # such a combination cannot be built
            self._reject(trial, str(error))
            return True
        set_constraints(trial, excess(constraints, values))
        violated = violations(constraints, values)
        if violated:
            self._reject(trial, violated[0])
        return bool(violated)

    def _reject(self, trial: optuna.trial.Trial, why: str) -> None:
        """Ends a sample that is no trial; one that told no excess is as bad as twice each bound."""
        set_constraints(trial, dict.fromkeys(self._experiment.constraints, 1.0))
        self._last_rejection = why
        self._study.tell(trial, state=TrialState.PRUNED)

    def _stop_reason(self, record: TrialRecord, epoch: int, check: Check) -> str:
        if epoch >= record.config.epochs:
            return ""
        if check.missed is not None:
            return (
                f"rung {epoch}: robust accuracy {check.robust.value:.3f} on the first "
                f"{check.robust.n} images leaves {check.missed:.3f}, of the last that would go on, "
                "out of reach"
            )
        others = self._scores.of_others(epoch, key=record.key)
        reduction = self._experiment.ladder.reduction
        if keeps_going(check.robust.value, others, reduction=reduction):
            return ""
        return (
            f"rung {epoch}: robust accuracy {check.robust.value:.3f} is not among the best "
            f"1/{reduction} of {len(others) + 1}"
        )

    def _report_to_study(self, number: int, epoch: int, check: Check) -> None:
        stored = self._study.get_trials(deepcopy=False)[number]
        if epoch not in stored.intermediate_values:
            trial = optuna.trial.Trial(self._study, stored._trial_id)  # pyright: ignore[reportPrivateUsage]
            trial.report(check.robust.value, step=epoch)

    def _close(self, record: TrialRecord) -> None:
        """Writes the record first: a kill before `tell` is repaired by `_settle`."""
        self._write(record.model_copy(update={"finished_at": time.time()}))
        self._tell(record)

    def _tell(self, record: TrialRecord) -> None:
        if record.status == "completed" and record.last_check is not None:
            self._study.tell(record.number, record.last_check.robust.value)
        elif record.status in ("stopped", "diagnosed"):
            self._study.tell(record.number, state=TrialState.PRUNED)
        else:
            stored = self._study.get_trials(deepcopy=False)[record.number]
            trial = optuna.trial.Trial(self._study, stored._trial_id)  # pyright: ignore[reportPrivateUsage]
            trial.set_user_attr(REASON_ATTR, record.reason)
            self._study.tell(record.number, state=TrialState.FAIL)

    def _settle(self) -> None:
        """Tells the study what a killed session wrote into a record but did not tell."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = self._records.get(f"t{trial.number:05d}")
            if record is not None and record.status != "running":
                self._tell(record)

    def _write(self, record: TrialRecord) -> None:
        self._records[record.key] = record
        write_record(self._folder.record(record.key), record)
        scores = rung_scores(self._records.values(), rungs=self._experiment.ladder.rungs)
        if scores != self._scores:
            self._scores = scores
            write_rung_scores(self._folder.rung_scores, scores)
        self._on_change(self.records)


def _startup_seconds(record: TrialRecord, progress: Progress) -> float | None:
    if record.startup_s is not None or record.sessions != 1 or record.started_at is None:
        return record.startup_s
    return progress.first_step_at - record.started_at - progress.clean_seconds
