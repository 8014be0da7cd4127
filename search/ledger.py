"""The books of a search: who runs next, what was reported, what follows from it.

The study and one record per trial are the source of truth, written before anything is announced; a
resumed search opens the same books, and several drivers may hold them in turn. What follows from
them is decided in `search/strategy`. No Ray here: `search/cluster` only carries messages.
"""

import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState

from search.asking import RETRY_ATTR, ask, queue_retry
from search.config import ExperimentConfig
from search.copying import COPIES_ATTR, inherit, queue_copies
from search.diagnosing import diagnose_history, diagnosis_text, first_end, latest_of_each
from search.drivers import books, is_alive
from search.fidelity import checkpoints_of, goal_of, rung_trial
from search.folder import SearchFolder
from search.judging import climb, judge, over_time
from search.observing import observe
from search.opening import open_record
from search.record_book import RecordBook
from search.records import TrialRecord
from search.spending import Spent, cap_met, read_sittings, spent_of
from search.strategy.ladder import Job, next_job
from search.strategy.observed import Observed
from search.strategy.optuna_samplers import is_exhausted
from search.telling import tell_check, tell_columns, tell_end
from trainers.config import TrialConfig
from trainers.metrics import Progress

MAX_REJECTED = 1000
"""Samples beyond a constraint, in a row, after which a search ends."""
REJECTED_IN_A_TURN = 50
"""After so many, the books are given back for a moment."""


class Ledger:
    """One search in progress, as one driver holds its books."""

    def __init__(
        self,
        folder: SearchFolder,
        experiment: ExperimentConfig,
        study: optuna.Study,
        *,
        on_change: Callable[[list[TrialRecord]], None],
        driver: str = "",
    ) -> None:
        """Opens the books; `on_change` sees all records after every change.

        Args:
            driver: Who we are among several (`search/drivers.py`); a search of one needs no name.
        """
        self._folder = folder
        self._experiment = experiment
        self._study = study
        self._on_change = on_change
        self._driver = driver
        self.stuck = ""
        """Why no more trials come although the budget is not spent; empty if they do."""
        self._rejected = 0
        self._book = RecordBook(folder, experiment.ladder)
        with books(folder):
            self._book.refresh()
            self._settle()

    def __getstate__(self) -> dict[str, object]:
        """Keeps nothing: Tune pickles what it is given into files that no resume reads."""
        return {}

    @property
    def records(self) -> list[TrialRecord]:
        """All trials, by number."""
        return sorted(self._book.by_key.values(), key=lambda record: record.number)

    @property
    def spent(self) -> Spent:
        """What the search has taken so far, all drivers together."""
        sittings = read_sittings(self._folder.sittings)
        return spent_of(self.records, sittings, self._experiment.resources)

    @property
    def cap(self) -> str:
        """Which cap of the budget, beside the number of trials, is met; empty if none is."""
        return cap_met(self._experiment.budget, self.spent)

    @property
    def is_finished(self) -> bool:
        """Whether the budget is spent: nothing runs, and nothing is left to run."""
        with books(self._folder):
            self._book.refresh()
            self._free_orphans()
            if any(record.status == "running" for record in self._book.by_key.values()):
                return False
            return bool(self.cap) or not (self._waiting() or self._dangling() or self._next())

    def next_trial(self) -> TrialRecord | None:
        """Returns the next trial to run, opened; None if there is none now.

        Interrupted ones come first, then what the ladder promotes, then new ones. Samples beyond a
        constraint never become trials: the sampler is told, and asked again. Where it knows no
        other, `stuck` says so.
        """
        with books(self._folder):
            self._book.refresh()
            self._free_orphans()
            if self.cap:
                return None
            if waiting := self._waiting():
                return self._begin(waiting[0])
            return self._next_job()

    def training(self, record: TrialRecord) -> TrialConfig:
        """Returns what takes a trial to its goal; it is the trial itself, or a rung's own."""
        rung = record.below[-1].rung if record.below else 0
        below = checkpoints_of(self._folder, self._experiment.ladder, record, rung=rung)
        # The one epoch that was checked is the last.
        return rung_trial(self._experiment, record, weights=str(below / "best.pt"))

    def checkpoints(self, record: TrialRecord) -> Path:
        """Returns where the training that takes a trial to its goal keeps its checkpoints."""
        rung = record.goal or record.config.epochs
        return checkpoints_of(self._folder, self._experiment.ladder, record, rung=rung)

    def report(self, key: str, progress: Progress, *, node: str) -> bool:
        """Files a report, which carries the whole history; returns whether the training goes on."""
        with books(self._folder):
            self._book.refresh()
            before = self._book.by_key[key]
            if before.status != "running" or before.driver != self._driver:
                return False
            training = self.training(before)
            found = diagnose_history(training, progress.history, self._experiment.diagnosis)
            update = {
                "progress": progress,
                "startup_s": _startup_seconds(before, progress),
                "node": node,
                "diagnoses": latest_of_each({0: before.diagnoses, **found}),
            }
            record = before.model_copy(update=update)
            end = (
                {"status": "diagnosed", "reason": diagnosis_text(failure)}
                if (failure := first_end(found))
                else over_time(self._experiment, record)
            )
            if end:
                self._close(record.model_copy(update=end))
                return False
            return self._judge(before, record)

    def finish(self, key: str) -> None:
        """Files that the trial's driver ended without an error."""
        with books(self._folder):
            self._book.refresh()
            record = self._book.by_key[key]
            if record.status != "running" or record.driver != self._driver:
                return
            if record.epochs >= record.config.epochs:
                self._close(record.model_copy(update={"status": "completed"}))
            elif cap := self.cap:
                self._write(record.model_copy(update={"status": "paused", "reason": cap}))
            else:
                ended = f"ended after epoch {record.epochs} of {record.config.epochs}"
                self._fail(record, ended, "")

    def fail(self, key: str, reason: str, error: str) -> None:
        """Files a failure as a result; the sampler is told that the trial failed."""
        with books(self._folder):
            self._book.refresh()
            record = self._book.by_key[key]
            if record.status == "running" and record.driver == self._driver:
                self._fail(record, reason, error)

    def suspend(self) -> None:
        """Files that nothing of this driver's runs any more; what did can be resumed."""
        with books(self._folder):
            self._book.refresh()
            for record in self.records:
                if record.status == "running" and record.driver == self._driver:
                    self._set_free(record, self.cap)

    def rest(self) -> None:
        """Tells the study that paused trials will not go on; they do if the budget grows."""
        with books(self._folder):
            self._book.refresh()
            for record in self.records:
                if record.status == "paused":
                    tell_end(self._study, self._experiment, record)

    def retry_failed(self) -> int:
        """Queues the sample of every failed trial again, once; returns how many are queued."""
        with books(self._folder):
            self._book.refresh()
            retried = {record.retry_of for record in self._book.by_key.values()}
            failed = [r for r in self.records if r.status == "failed" and r.key not in retried]
            return sum(queue_retry(self._study, record) for record in failed)

    def _judge(self, before: TrialRecord, record: TrialRecord) -> bool:
        """Files a report in which no diagnosis ends the trial."""
        self._book.by_key[record.key] = record  # decisions see what it has just shown
        for epoch, check in record.checks:
            if epoch > before.epochs:
                tell_check(self._study, record, epoch, check)
                record = judge(self._experiment, self._observed(), record, epoch, check)
                if record.status != "running":
                    break
        if record.status == "stopped":
            self._close(record)
            queue_copies(self._experiment, self._study, self.records)
        elif record.status == "paused":
            self._write(record.model_copy(update={"finished_at": time.time()}))
        else:
            self._write(record)
        return record.status == "running"

    def _next(self) -> Job | None:
        budget = self._experiment.budget.trials
        has_place = budget is None or self.spent.trials < budget
        may_start = (has_place and not is_exhausted(self._study)) or self._is_promised()
        may_start = may_start and not self.stuck
        return next_job(self._observed(), self._experiment.ladder, may_start=may_start)

    def _next_job(self) -> TrialRecord | None:
        for _ in range(REJECTED_IN_A_TURN):
            dangling = self._dangling()
            job = None if dangling else self._next()
            if job is not None and job.number is not None:
                return self._promote(f"t{job.number:05d}", job.level)
            if job is None and not dangling:
                return None
            seen = self._observed()
            trial = dangling[0] if dangling else ask(self._experiment, self._study, seen)
            opened = open_record(self._experiment, self._study, trial, seen)
            if isinstance(opened, TrialRecord):
                if COPIES_ATTR in trial.user_attrs:
                    attrs = trial.user_attrs
                    opened = inherit(self._experiment, opened, attrs, self._book.by_key)
                self._rejected = 0
                return self._begin(opened)
            self._rejected += 1
            if self._rejected >= MAX_REJECTED:
                self.stuck = (
                    f"the sampler proposed {MAX_REJECTED} samples in a row that cannot be trials "
                    f"(the last one: {opened}); start anew with wider constraints or another space"
                )
                return None
        return None  # others want the books meanwhile

    def _promote(self, key: str, level: int) -> TrialRecord:
        """Begins the next rung of a paused trial."""
        return self._begin(climb(self._experiment, self._book.by_key[key], level))

    def _begin(self, record: TrialRecord) -> TrialRecord:
        update = {
            "status": "running",
            "reason": "",
            "sessions": record.sessions + 1,
            "started_at": time.time(),
            "finished_at": None,
            "driver": self._driver,
        }
        self._write(record.model_copy(update=update))
        return self._book.by_key[record.key]

    def _waiting(self) -> list[TrialRecord]:
        """Returns the trials that were interrupted on their way."""
        highest = {trial.number: trial.highest for trial in self._observed()}
        ladder = self._experiment.ladder
        return [
            record
            for record in self.records
            if record.status == "paused" and goal_of(record, ladder) > highest[record.number]
        ]

    def _dangling(self) -> list[Trial]:
        """Returns what was asked for by a process that died before it had filed a record."""
        return [
            Trial(self._study, trial._trial_id)  # pyright: ignore[reportPrivateUsage]
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            if f"t{trial.number:05d}" not in self._book.by_key
        ]

    def _is_promised(self) -> bool:
        """Whether a trial beyond the budget's waits in the study: a retry or a copy."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return any({RETRY_ATTR, COPIES_ATTR} & {*trial.user_attrs} for trial in waiting)

    def _observed(self) -> list[Observed]:
        return observe(self._experiment, self.records)

    def _set_free(self, record: TrialRecord, reason: str) -> None:
        """Pauses a trial that nobody runs any more, unless it had told of its last epoch."""
        if record.epochs >= record.config.epochs:
            self._close(record.model_copy(update={"status": "completed"}))
        else:
            self._write(record.model_copy(update={"status": "paused", "reason": reason}))

    def _fail(self, record: TrialRecord, reason: str, error: str) -> None:
        update = {"status": "failed", "reason": reason, "error": error}
        self._close(record.model_copy(update=update))

    def _close(self, record: TrialRecord) -> None:
        """Writes the record first: a kill before `tell_end` is repaired by `_settle`."""
        closed = record.model_copy(update={"finished_at": time.time()})
        self._write(closed)
        tell_end(self._study, self._experiment, closed)

    def _settle(self) -> None:
        """Repairs what killed drivers left: tells the study what they only wrote into records."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = self._book.by_key.get(f"t{trial.number:05d}")
            if record is not None and record.status not in ("running", "paused"):
                tell_end(self._study, self._experiment, record)
        queue_copies(self._experiment, self._study, self.records)
        self._free_orphans(own=self._driver)

    def _free_orphans(self, own: str | None = None) -> None:
        """Sets the running trials of drivers that died free for any other.

        Args:
            own: Our id where nothing of ours runs yet: a search of one has none, and so had it
                before a kill.
        """
        for record in self.records:
            is_ours = record.driver == self._driver
            is_left = record.driver == own if is_ours else not is_alive(self._folder, record.driver)
            if record.status == "running" and is_left:
                self._set_free(record, "")

    def _write(self, record: TrialRecord) -> None:
        self._book.write(record)
        if record.status in ("running", "paused"):
            tell_columns(self._study, self._experiment, record)
        self._on_change(self.records)


def _startup_seconds(record: TrialRecord, progress: Progress) -> float | None:
    if record.startup_s is not None or record.sessions != 1 or record.started_at is None:
        return record.startup_s
    return progress.first_step_at - record.started_at - progress.clean_seconds
