"""Several drivers add trials to one study in a real PostgreSQL at once, and some are killed."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from ledger_factory import progress
from optuna.trial import TrialState
from postgres_server import PASSWORD, postgres_server
from repository import DEMO

from search.books.drivers import registered
from search.books.ledger import Ledger
from search.books.records import TrialRecord, read_records
from search.books.study import create_study, open_study
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.load import load_experiment
from trainers.metrics import Progress

pytestmark = pytest.mark.slow
TRIALS = 24


@pytest.fixture
def server() -> Iterator[int]:
    with postgres_server() as port:
        yield port


def drive(root: Path, config: ExperimentConfig) -> None:
    """What a driver does, with trainings that take no time."""
    folder = SearchFolder(root=root)
    with registered(folder) as me:
        study = open_study(folder, config)
        ledger = Ledger(folder, config, study, on_change=lambda _: None, driver=me)
        while not ledger.is_finished:
            if record := ledger.next_trial():
                train(ledger, record, log=root / f"{me}.log")
            else:
                time.sleep(0.05)
        ledger.rest()


def train(ledger: Ledger, record: TrialRecord, *, log: Path) -> None:
    """Reports up to the trial's goal, and on from there as long as it goes on."""
    goes_on = True
    while goes_on:
        goal = record.goal or 0
        time.sleep(0.01)
        goes_on = ledger.report(record.key, report(record.number, epochs=goal), node="here")
        with log.open("a") as file:
            file.write(f"{record.key} {goal}\n")
        record = next(one for one in ledger.records if one.key == record.key)
        if goes_on and record.epochs == record.config.epochs:
            ledger.finish(record.key)
            return


def report(number: int, *, epochs: int) -> Progress:
    """A history whose score is a function of the trial's number alone."""
    right = 40 + number * 7 % TRIALS
    checks = (right if epoch in (1, 2, 4) else -1 for epoch in range(1, epochs + 1))
    return progress(*checks, first_step_at=time.time())


def start(root: Path, config: ExperimentConfig) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=drive, args=(root, config))
    process.start()
    return process


def begun(folder: SearchFolder) -> int:
    return len(read_records(folder.trials))


def test_no_trial_is_lost_or_doubled_by_drivers_that_are_killed(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    changes = {
        "storage": f"postgresql://rampart:${{DB_PASSWORD}}@127.0.0.1:{server}/rampart",
        "warm_start": [],
        "constraints": {},
        "base.epochs": 4,
        "ladder.rungs": [1, 2],
        "budget.trials": TRIALS,
    }
    config = load_experiment(DEMO, changes)
    folder, draw = SearchFolder(root=tmp_path), random.Random(0)
    create_study(folder, config)

    processes = [start(tmp_path, config) for _ in range(2)]
    for kill_at in (4, 10, 16):
        while begun(folder) < kill_at:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.05))
        killed = processes.pop(0)
        assert killed.pid is not None
        os.kill(killed.pid, signal.SIGKILL)
        killed.join()
        processes.append(start(tmp_path, config))
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    records = read_records(folder.trials)
    trials = open_study(folder, config).get_trials()
    assert [record.number for record in records] == list(range(TRIALS))
    assert Counter(trial.state for trial in trials) == {
        TrialState.COMPLETE: sum(record.status == "completed" for record in records),
        TrialState.PRUNED: sum(record.status == "paused" for record in records),
    }
    done = Counter(line for log in tmp_path.glob("*.log") for line in log.read_text().splitlines())
    assert set(done.values()) == {1}, "no rung was trained twice"
    owners = {log.name for log in tmp_path.glob("*.log")}
    assert len(owners) >= 3, "the work was shared"
    reached = Counter(epoch for record in records for epoch, _ in record.checks)
    assert reached[1] == TRIALS
    assert reached[2] + 1 >= TRIALS // 2
    assert reached[4] >= TRIALS // 4 - 1
