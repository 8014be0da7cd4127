"""Several drivers add trials to one study in a real PostgreSQL at once, and some are killed."""

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from postgres_server import PASSWORD, postgres_server

from search.config import ExperimentConfig
from search.drivers import abandoned, books, registered
from search.folder import SearchFolder
from search.load import load_experiment
from search.space import suggest
from search.study import create_study, open_study
from trainers.atomic import write_atomically

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parents[2] / "search" / "configs" / "demo.yaml"
TRIALS = 40


@pytest.fixture
def server() -> Iterator[int]:
    with postgres_server() as port:
        yield port


def drive(root: Path, config: ExperimentConfig) -> None:
    """What a driver does, with trials that take no time: claim, run, tell; until all is done."""
    folder = SearchFolder(root=root)
    study = open_study(folder, config)
    with registered(folder) as me:
        while trial := claim(folder, study, me):
            suggest(trial, config.space)
            time.sleep(0.02)
            with books(folder):
                study.tell(trial, 0.5)


def claim(folder: SearchFolder, study: optuna.Study, me: str) -> optuna.trial.Trial | None:
    path = folder.root / "claims.json"
    with books(folder):
        claims: dict[str, list[str]] = json.loads(path.read_text())
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        drivers = {str(trial.number): claims.get(str(trial.number), [""])[-1] for trial in running}
        if lost := abandoned(folder, drivers):
            stored = study.get_trials(deepcopy=False)[int(lost[0])]
            trial = optuna.trial.Trial(study, stored._trial_id)  # pyright: ignore[reportPrivateUsage]
        elif len(study.get_trials(deepcopy=False)) < TRIALS:
            trial = study.ask()
        else:
            return None
        claims.setdefault(str(trial.number), []).append(me)
        write_atomically(path, json.dumps(claims))
    return trial


def start(root: Path, config: ExperimentConfig) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=drive, args=(root, config))
    process.start()
    return process


def completed(study: optuna.Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def test_no_trial_is_lost_or_doubled_by_drivers_that_are_killed(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    url = f"postgresql://rampart:${{DB_PASSWORD}}@127.0.0.1:{server}/rampart"
    config = load_experiment(
        DEMO, {"storage": url, "warm_start": [], "sampler": {"name": "random", "seed": 0}}
    )
    folder, draw = SearchFolder(root=tmp_path), random.Random(0)
    (tmp_path / "claims.json").write_text("{}")
    create_study(folder, config)
    study = open_study(folder, config)

    processes = [start(tmp_path, config) for _ in range(2)]
    for kill_at in (5, 15, 25):
        while completed(study) < kill_at:
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
    trials = study.get_trials()
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: TRIALS}
    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == TRIALS
    claims: dict[str, list[str]] = json.loads((tmp_path / "claims.json").read_text())
    owners = {me for mine in claims.values() for me in mine}
    again = sum(len(mine) - 1 for mine in claims.values())
    assert len(owners) >= 3, "the work was shared"
    assert again <= 3, "only what a killed driver had begun was begun again"
