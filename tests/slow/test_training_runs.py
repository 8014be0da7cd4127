"""`rampart train` on Ray: what is told to end, killed, lost and added again."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from launch import TINY_RUN, finish, run, start, train_workers, wait_until
from nodes import Nodes
from repository import TRAIN

from trainers.checkpoint import BEST, load_model
from trainers.metrics import Progress

pytestmark = pytest.mark.slow
SMALL = [
    *TINY_RUN,
    "resources.cpus_per_worker=1",
    "checkpoints.minutes=0.001",
]


def progress(folder: Path) -> Progress | None:
    path = folder / "runs" / "train" / "progress.json"
    return Progress.model_validate_json(path.read_text()) if path.exists() else None


def epochs(folder: Path) -> int:
    found = progress(folder)
    return len(found.history) if found else 0


def events(folder: Path) -> str:
    found = progress(folder)
    return "; ".join(found.events) if found else ""


def test_a_run_survives_a_warning_a_kill_and_ends_with_every_epoch_once(tmp_path: Path) -> None:
    command = ["train", str(TRAIN), *SMALL, "trial.epochs=40"]
    process = start(command, tmp_path)
    wait_until(lambda: epochs(tmp_path) >= 1, process, tmp_path)
    (worker,) = train_workers(process.pid)

    os.kill(worker, signal.SIGTERM)
    wait_until(lambda: train_workers(process.pid) not in ([], [worker]), process, tmp_path)
    before = epochs(tmp_path)
    wait_until(lambda: epochs(tmp_path) > before, process, tmp_path)
    process.terminate()
    finish(process, tmp_path, code=143)
    at_end = epochs(tmp_path)
    run([*command, "--resume"], tmp_path)

    folder, log = tmp_path / "runs" / "train", (tmp_path / "log").read_text()
    assert "rampart: terminated; the same command with --resume goes on" in log
    assert 1 < at_end < 40
    table = pd.read_csv(folder / "metrics.csv")
    assert list(table["epoch"]) == list(range(1, 41))
    assert set(table["robust_n"]) == {24}
    assert list((folder / "tensorboard").iterdir())
    assert sorted(path.name for path in (folder / "checkpoint").iterdir()) == [
        BEST,
        "e00040-s000000.pt",
    ]
    config, _ = load_model(folder / "checkpoint" / BEST)
    assert config.epochs == 40


def test_a_run_goes_on_without_a_lost_node_and_grows_when_one_comes(tmp_path: Path) -> None:
    with Nodes() as nodes:
        nodes.add()
        resources = ["resources.workers=2", "resources.min_workers=1"]
        command = ["train", str(TRAIN), *SMALL, *resources, "trial.epochs=5000"]
        process = start([*command, "--address", nodes.address], tmp_path)
        wait_until(lambda: epochs(tmp_path) >= 1, process, tmp_path)

        nodes.lose()
        wait_until(lambda: "1 worker(s) instead of 2" in events(tmp_path), process, tmp_path)
        nodes.add()
        wait_until(lambda: "2 worker(s) instead of 1" in events(tmp_path), process, tmp_path)
        process.terminate()
        finish(process, tmp_path, code=143)

    found = progress(tmp_path)
    assert found is not None
    assert [epoch.epoch for epoch in found.history] == list(range(1, len(found.history) + 1))
