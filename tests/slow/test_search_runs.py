"""Whole searches on a local Ray: the main job, deaths, failures, a neighbour, a cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from launch import (
    NOTHING_TO_PROMOTE,
    TINY,
    finish,
    records,
    run,
    search_folder,
    start,
    train_workers,
    wait_until,
)
from nodes import Nodes
from repository import DEMO

from evaluation.result import EvaluationResult
from search.books.records import FullRun, TrialRecord
from trainers.checkpoint import load_model
from trainers.config import config_hash

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A head and a second node with one CPU each: a cluster to join, and a neighbour to bear."""
    with Nodes() as nodes:
        nodes.add()
        yield nodes.address


def is_whole(record: TrialRecord) -> bool:
    """A history without a gap or a repetition, checked at every rung."""
    history = record.progress.history if record.progress else ()
    return [epoch.epoch for epoch in history] == list(range(1, record.epochs + 1)) and [
        epoch for epoch, _ in record.checks
    ] == [rung for rung in (1, 2, 4) if rung <= record.epochs]


def test_the_main_job_runs_end_to_end_beside_another_ray(tmp_path: Path, cluster: str) -> None:
    run(["search", str(DEMO), *TINY], tmp_path)

    folder = search_folder(tmp_path)
    table = pd.read_parquet(folder.table("parquet"))
    assert list(table["key"]) == ["t00000", "t00001", "t00002", "t00003"]
    # Without a stopped trial the trap of workers that are never freed would not be met.
    assert set(table["status"]) == {"completed", "stopped"}
    assert set(table["robust_attack"]) == {"apgd_ce2+apgd_t3x2"}
    assert set(table["robust_n"]) == {48}
    assert all(is_whole(record) for record in records(tmp_path))
    assert all(record.startup_s for record in records(tmp_path))
    for key in {path.name for path in folder.promoted.glob("*/")}:
        text = (folder.promoted / key / "record.json").read_text()
        full = FullRun.model_validate_json(text)
        result = EvaluationResult.model_validate_json(
            (folder.promoted / key / "result.json").read_text()
        )
        config, _ = load_model(folder.promoted / key / "checkpoint")
        assert full.status == "completed"
        assert config == full.config
        assert result.config_hash == config_hash(config) == full.config_hash
        assert result.robust.n == 12
        assert (folder.promoted / key / "model_card.md").exists()
    assert len(list(folder.promoted.glob("*/"))) == 2
    assert (folder.report / "index.html").stat().st_size > 10_000


def test_a_search_on_a_cluster_uses_both_nodes(tmp_path: Path, cluster: str) -> None:
    arguments = ["--address", cluster, *TINY, NOTHING_TO_PROMOTE]
    run(["search", str(DEMO), *arguments], tmp_path, code=1)

    assert len({record.node for record in records(tmp_path)}) == 2
    assert {record.status for record in records(tmp_path)} == {"completed", "stopped"}


def test_a_killed_search_resumes_where_it_was(tmp_path: Path) -> None:
    process = start(["search", str(DEMO), *TINY, "base.epochs=8"], tmp_path)
    running: list[TrialRecord] = []

    def is_in_the_middle() -> bool:
        running[:] = [r for r in records(tmp_path) if r.status == "running" and r.epochs >= 1]
        return bool(running) and any(r.status != "running" for r in records(tmp_path))

    wait_until(is_in_the_middle, process, tmp_path)
    process.kill()
    process.wait()
    before = {record.key: record for record in records(tmp_path)}
    assert any(record.status == "running" for record in before.values())

    # And once more in the middle of the full runs.
    second = start(["resume", "demo"], tmp_path)
    promoted = search_folder(tmp_path).promoted
    wait_until(lambda: bool(list(promoted.glob("*/progress.json"))), second, tmp_path)
    second.kill()
    second.wait()
    run(["resume", "demo"], tmp_path)

    after = {record.key: record for record in records(tmp_path)}
    assert len(after) == 4
    assert all(record.status in ("completed", "stopped") for record in after.values())
    for key, record in before.items():
        if record.status != "running":
            assert after[key] == record
        elif record.epochs:
            assert after[key].progress.history[: record.epochs] == record.progress.history  # pyright: ignore[reportOptionalMemberAccess]
            assert after[key].sessions == 2
    finished_at = [record.finished_at for record in after.values()]
    assert all(finished_at)
    assert len(list(promoted.glob("*/result.json"))) == 2


def test_a_killed_worker_goes_on_from_its_checkpoint_and_a_failing_trial_is_a_row(
    tmp_path: Path,
) -> None:
    # This seed draws a sane learning rate, then one that makes the loss non-finite, then a sane
    # one again.
    overrides = [
        *TINY,
        "base.epochs=8",
        "space={optim.lr: {choice: [0.001, 1.0e+30]}}",
        "warm_start=[]",
        "budget.trials=3",
        "ladder.rungs=[]",
        "sampler={name: random, seed: 14}",
        NOTHING_TO_PROMOTE,
    ]
    process = start(["search", str(DEMO), *overrides], tmp_path)
    wait_until(lambda: any(r.epochs >= 1 for r in records(tmp_path)[:1]), process, tmp_path)
    before = records(tmp_path)[0].progress
    workers = train_workers(process.pid)
    assert before is not None
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    finish(process, tmp_path, code=1)

    first, broken, last = records(tmp_path)
    assert [first.params["optim.lr"], broken.params["optim.lr"]] == [1e-3, 1e30]
    for record in (first, last):
        assert record.status == "completed"
        assert record.progress is not None
        assert [epoch.epoch for epoch in record.progress.history] == list(range(1, 9))
    # The seconds of each epoch tell that it is the same epoch, not one trained again.
    assert first.progress is not None
    assert first.progress.history[: len(before.history)] == before.history
    assert broken.status == "failed"
    assert broken.reason.startswith("FloatingPointError: loss is nan at epoch=1")
    assert "Traceback" in broken.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resources.concurrent_trials=99"], "resources ask for 99 workers of 1 CPUs"),
        (["--address", "127.0.0.1:1", "name=x"], "cannot join the Ray cluster at 127.0.0.1:1"),
    ],
)
def test_a_search_that_cannot_run_leaves_nothing(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    process = start(["search", str(DEMO), *TINY, *arguments], tmp_path)

    assert process.wait(timeout=120) == 2
    text = (tmp_path / "log").read_text()
    assert words in text
    assert "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_cluster_that_refuses_us_costs_no_trial(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    run(["search", str(DEMO), *TINY, "--address", cluster], tmp_path, code=2)

    assert "RAY_AUTH_MODE=disabled" in (tmp_path / "log").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_two_searches_at_once_disturb_neither_though_one_runs_out_of_memory(
    tmp_path: Path,
) -> None:
    shared = [*TINY, NOTHING_TO_PROMOTE, "budget.trials=3", "resources.concurrent_trials=1"]
    # This seed draws a small model, then one of 256 terabytes, then the small one again.
    widths = [
        "space={model.widths: {choice: [[16, 32], [16, 4000000]]}}",
        "warm_start=[]",
        "ladder.rungs=[]",
        "sampler={name: random, seed: 14}",
    ]
    sane = start(["search", str(DEMO), *shared, "name=sane"], tmp_path)
    huge = start(["search", str(DEMO), *shared, *widths, "name=huge"], tmp_path)
    finish(sane, tmp_path, code=1)
    finish(huge, tmp_path, code=1)

    assert {r.status for r in records(tmp_path, "sane")} <= {"completed", "stopped"}
    assert len(records(tmp_path, "sane")) == 3
    assert [r.status for r in records(tmp_path, "huge")] == ["completed", "failed", "completed"]
    assert "can't allocate memory" in records(tmp_path, "huge")[1].reason
    for name in ("sane", "huge"):
        assert (search_folder(tmp_path, name).report / "index.html").exists()

    run(["resume", "huge", "--retry-failed"], tmp_path, code=1)
    *before, again = records(tmp_path, "huge")
    assert [r.status for r in before] == ["completed", "failed", "completed"]
    assert (again.status, again.retry_of, again.params) == (
        "failed",
        before[1].key,
        before[1].params,
    )


def test_a_second_driver_takes_trials_of_the_same_search(tmp_path: Path) -> None:
    limits = ["budget.trials=6", "resources.concurrent_trials=1", NOTHING_TO_PROMOTE]
    first = start(["search", str(DEMO), *TINY, *limits], tmp_path)
    wait_until(lambda: bool(records(tmp_path)), first, tmp_path)
    second = start(["resume", "demo", "--join"], tmp_path)
    finish(second, tmp_path)
    finish(first, tmp_path, code=1)

    found = records(tmp_path)
    assert [record.number for record in found] == list(range(6))
    assert {record.status for record in found} <= {"completed", "stopped"}
    assert len({record.driver for record in found}) == 2
