"""Starts `rampart` as a user does, in a process of its own, on a search of seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from search.books.records import TrialRecord, read_records
from search.folder import SearchFolder

# The third trial of this seed learns next to nothing, and the first two show more at the first rung
# whoever comes first: a trial is stopped in every run.
TINY = [
    "base.data.train_images=192",
    "base.data.select_images=48",
    "base.data.test_images=24",
    "base.model.depths=[1,1]",
    "base.model.widths=[16,32]",
    "space={model.stem: {choice: [patch, conv]}, attack.steps: {int: [1, 2]}, "
    "optim.lr: {choice: [0.01, 0.000001]}}",
    "base.optim.warmup=0",
    "warm_start=[]",
    "constraints={}",
    "sampler={name: random, seed: 10}",
    "base.epochs=4",
    "ladder.rungs=[1, 2]",
    "ladder.decide=stop",
    "early_check.images=48",
    "early_check.ce_steps=2",
    "early_check.t_steps=2",
    "diagnosis.non_start_epochs=99",  # what learns next to nothing must be left to the rungs
    "budget.trials=4",
    "promotion.min_clean_accuracy=0",
    "promotion.overrides={epochs: 2}",
    "reference.images=12",
    "reference.batch_size=12",
]
TINY_RUN = [
    "trial.data.train_images=192",
    "trial.data.select_images=24",
    "trial.model.depths=[1,1]",
    "trial.model.widths=[16,32]",
    "validation.images=24",
    "validation.ce_steps=1",
    "validation.t_steps=1",
]
"""Of `rampart train`: a run of seconds per hundred epochs."""
NOTHING_TO_PROMOTE = "promotion.min_clean_accuracy=1"
"""Ends a search after its trials, with exit code 1."""
DEADLINE_S = 420


def start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """Starts `rampart ARGUMENTS` in `folder`, its output in `folder/log`."""
    with (folder / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "search", *arguments],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[str], folder: Path, *, code: int = 0) -> None:
    """Waits for an end with the exit code `code`."""
    try:
        ended = process.wait(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"hangs; its output:\n{(folder / 'log').read_text()}") from None
    assert ended == code, (folder / "log").read_text()


def run(arguments: list[str], folder: Path, *, code: int = 0) -> None:
    """Runs `rampart ARGUMENTS` to its end."""
    finish(start(arguments, folder), folder, code=code)


def records(folder: Path, name: str = "demo") -> list[TrialRecord]:
    """Returns the records of a search under `folder/runs`."""
    return read_records(search_folder(folder, name).trials)


def search_folder(folder: Path, name: str = "demo") -> SearchFolder:
    """Returns the folder of a search under `folder/runs`."""
    return SearchFolder(root=folder / "runs" / name)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], folder: Path) -> None:
    """Waits for `condition` while `process` lives."""
    deadline = time.time() + DEADLINE_S
    while not condition():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.time() < deadline, (folder / "log").read_text()
        time.sleep(0.1)


def train_workers(group: int) -> list[int]:
    """Finds the processes of training workers that belong to the search `group`."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            title = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "RayTrainWorker" in title and os.getsid(int(entry.name)) == os.getsid(group):
            found.append(int(entry.name))
    return found
