"""The books of a search: who runs next, what was reported, what follows from it.

The study and one record per trial are the source of truth, written before anything is announced; a
resumed search opens the same books, and several drivers may hold them in turn. What follows from
them is decided in `search/strategy`. No Ray here: `search/cluster` only carries messages.
"""

import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.trial import Trial

from search.books.asking import ask, queue_failed
from search.books.copying import inherit, queue_copies
from search.books.drivers import books, is_alive
from search.books.fidelity import checkpoints_of, rung_trial
from search.books.judging import begun, climb, judge, reported
from search.books.observing import observe
from search.books.opening import open_record
from search.books.record_book import RecordBook
from search.books.records import TrialRecord
from search.books.spending import Spent, cap_met, read_sittings, spent_of
from search.books.telling import tell_check, tell_columns, tell_end
from search.books.waiting import dangling, interrupted, promised, take, tell_untold
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.strategy.ladder import Job, next_job
from search.strategy.observed import Observed
from search.strategy.optuna_samplers import is_exhausted
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
            driver: Who we are among several (`drivers.py`); a search of one needs no name.
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
            return bool(self.cap) or not (
                self._interrupted() or dangling(self._study, self._book.by_key) or self._next()
            )

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
            if waiting := self._interrupted():
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
            record = reported(self._experiment, training, before, progress, node=node)
            if record.status != "running":
                self._close(record)
                return False
            return self._judge(before, record)

    def finish(self, key: str) -> None:
        """Files that the trial's driver ended without an error."""
        with books(self._folder):
            self._book.refresh()
            record = self._book.by_key[key]
            if record.status != "running" or record.driver != self._driver:
                return
            if cap := self.cap:
                self._set_free(record, cap)
            elif not self._completes(record):
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
            return queue_failed(self._experiment, self._study, self.records)

    def _judge(self, before: TrialRecord, record: TrialRecord) -> bool:
        """Files a report in which no diagnosis ends the trial."""
        self._book.by_key[record.key] = record  # decisions see what it has just shown
        for epoch, check in record.checks[len(before.checks) :]:
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
        has_more = self._has_place() and not is_exhausted(self._study)
        may_start = (has_more or bool(promised(self._study))) and not self.stuck
        return next_job(self._observed(), self._experiment.ladder, may_start=may_start)

    def _next_job(self) -> TrialRecord | None:
        for _ in range(REJECTED_IN_A_TURN):
            left = dangling(self._study, self._book.by_key)
            job = None if left else self._next()
            if job is not None and job.number is not None:
                record = self._book.by_key[f"t{job.number:05d}"]
                return self._begin(climb(self._experiment, record, job.level))
            if job is None and not left:
                return None
            seen = self._observed()
            trial = left[0] if left else self._ask(seen)
            opened = open_record(self._experiment, self._study, trial, seen)
            if isinstance(opened, TrialRecord):
                self._rejected = 0
                parents, attrs = self._book.by_key, trial.user_attrs
                return self._begin(inherit(self._experiment, opened, attrs, parents))
            queue_copies(self._experiment, self._study, self.records)  # if it was to be one
            self._rejected += 1
            if self._rejected >= MAX_REJECTED:
                self.stuck = (
                    f"the sampler proposed {MAX_REJECTED} samples in a row that cannot be trials "
                    f"(the last one: {opened}); start anew with wider constraints or another space"
                )
                return None
        return None  # others want the books meanwhile

    def _begin(self, record: TrialRecord) -> TrialRecord:
        self._write(begun(record, self._experiment.resources, driver=self._driver))
        return self._book.by_key[record.key]

    def _ask(self, seen: list[Observed]) -> Trial:
        if self._has_place():
            return ask(self._experiment, self._study, seen)
        return take(self._study, promised(self._study)[0])  # or a warm start would have its place

    def _has_place(self) -> bool:
        budget = self._experiment.budget.trials
        return budget is None or self.spent.trials < budget

    def _interrupted(self) -> list[TrialRecord]:
        return interrupted(self.records, self._observed(), self._experiment.ladder)

    def _observed(self) -> list[Observed]:
        return observe(self._experiment, self.records)

    def _set_free(self, record: TrialRecord, reason: str) -> None:
        """Pauses a trial that nobody runs any more, unless it had told of its last epoch."""
        if not self._completes(record):
            self._write(record.model_copy(update={"status": "paused", "reason": reason}))

    def _completes(self, record: TrialRecord) -> bool:
        if record.epochs < record.config.epochs:
            return False
        self._close(record.model_copy(update={"status": "completed"}))
        return True

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
        tell_untold(self._study, self._experiment, self._book.by_key)
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
