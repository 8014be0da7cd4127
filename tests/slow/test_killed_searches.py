"""A search that is killed again and again ends with the table of one that was not.

Without Ray, so that ten kills take minutes; those of Ray's own processes are in
test_search_runs.py.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from repository import ROOT

from search.books.records import TrialRecord, read_records
from search.folder import SearchFolder
from search.results.table import trials_frame

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("local_driver.py")
KILLS = 10
OF_THE_CLOCK = ["train_seconds", "check_seconds", "startup_s"]


def start(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(root)],
        cwd=root.parent,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": ":".join(map(str, [ROOT, *DRIVER.parents[:2]]))},
    )


def table(root: Path) -> pd.DataFrame:
    frame = trials_frame(read_records(SearchFolder(root=root).trials))
    return frame.drop(columns=OF_THE_CLOCK)


def sessions(root: Path) -> int:
    return sum(record.sessions for record in read_records(SearchFolder(root=root).trials))


def kill_while_at_work(process: subprocess.Popen[bytes], root: Path, *, after_s: float) -> bool:
    """Kills the process and its workers some time after it began; returns whether it still ran."""
    before = len(list((root / "sittings").glob("*.json")))
    while process.poll() is None and len(list((root / "sittings").glob("*.json"))) == before:
        time.sleep(0.02)
    time.sleep(after_s)
    was_running = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_running


def test_ten_kills_at_random_moments_change_nothing_in_the_table(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert start(undisturbed).wait(timeout=900) == 0

    draw, kills = random.Random(1), 0
    for _ in range(KILLS):
        kills += kill_while_at_work(start(killed), killed, after_s=draw.uniform(0.0, 8.0))
    assert start(killed).wait(timeout=900) == 0

    assert kills >= KILLS // 2  # a fast machine may end before the last of them
    assert_frame_equal(table(killed), table(undisturbed))
    assert sessions(killed) > sessions(undisturbed)


def test_a_folder_that_was_moved_goes_on_where_it_is(tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "elsewhere" / "moved"
    kill_while_at_work(start(first), first, after_s=6.0)
    done = {r.key: r for r in read_records(SearchFolder(root=first).trials) if r.epochs}
    moved.parent.mkdir()
    first.rename(moved)

    assert start(moved).wait(timeout=900) == 0

    after = {record.key: record for record in read_records(SearchFolder(root=moved).trials)}
    assert len(after) == 8
    for key, record in done.items():
        assert _epochs(after[key])[: record.epochs] == _epochs(record)  # none was trained again
    assert not first.exists()


def _epochs(record: TrialRecord) -> list[tuple[int, float]]:
    history = record.progress.history if record.progress else ()
    return [(epoch.epoch, epoch.seconds) for epoch in history]
