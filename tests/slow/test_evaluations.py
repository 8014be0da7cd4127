"""`rampart evaluate` on Ray: shards that are killed go on, and give what one process gives."""

import os
import signal
from pathlib import Path

import pytest
from checkpoint_factory import save_untrained
from launch import finish, run, start, wait_until

pytestmark = pytest.mark.slow
ATTACKS = (
    "attacks=[{name: apgd-ce, steps: 5, restarts: 1, targets: 0, passes: 1, shrinks: false}, "
    "{name: square, steps: 3000, restarts: 1, targets: 0, passes: 1, shrinks: false}]"
)


def evaluations(folder: Path) -> list[Path]:
    return sorted((folder / "model" / "evaluations").glob("*"))


def lines(folder: Path) -> int:
    journals = (folder / "model" / "evaluations").glob("*/state/*.jsonl")
    return sum(journal.read_bytes().count(b"outcome") for journal in journals)


def test_shards_on_ray_go_on_after_a_kill_and_give_what_one_process_gives(tmp_path: Path) -> None:
    save_untrained(tmp_path / "model", seed=0, data={"test_images": 120})
    command = ["evaluate", "model", "version=custom", ATTACKS, "batch_size=4"]
    process = start([*command, "--shards", "2"], tmp_path)
    wait_until(lambda: lines(tmp_path) >= 4, process, tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = lines(tmp_path)

    run([*command, "--shards", "2"], tmp_path)
    (sharded,) = evaluations(tmp_path)
    sharded = sharded.rename(tmp_path / "sharded")
    run([*command, "--shards", "1"], tmp_path)

    (alone,) = evaluations(tmp_path)
    assert found >= 4
    for name in ("result.json", "images.parquet", "examples.npz"):
        assert (sharded / name).read_bytes() == (alone / name).read_bytes(), name
    assert not (sharded / "state").exists()


def test_a_shard_that_raises_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    save_untrained(tmp_path / "model", seed=0)
    process = start(["evaluate", "model", "--shards", "2", "--data", "nowhere"], tmp_path)

    finish(process, tmp_path, code=2)

    assert "leave --data out" in (tmp_path / "log").read_text()
