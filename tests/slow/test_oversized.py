"""Runs that ask for more than the cluster has, from the start or since a node was lost."""

import subprocess
import time
from pathlib import Path

import pytest
from launch import TINY_RUN, finish, start, wait_until
from nodes import Nodes
from repository import TRAIN

from search.cluster.capacity import LOST_S

pytestmark = pytest.mark.slow
SMALL = [
    *TINY_RUN,
    "trial.epochs=5000",
]
ALL_NODES = ["resources.workers=2", "resources.min_workers=2", "resources.cpus_per_worker=1"]


def train(folder: Path, address: str, resources: list[str]) -> subprocess.Popen[str]:
    folder.mkdir()
    return start(["train", str(TRAIN), *SMALL, *resources, "--address", address], folder)


def has_begun(folder: Path) -> bool:
    """Whether a driver waits for its workers, or has them."""
    return (folder / "runs" / "train" / ".ray").exists()


def has_workers(folder: Path) -> bool:
    return (folder / "runs" / "train" / "progress.json").exists()


def test_who_asks_for_more_than_there_is_fails_and_who_waits_for_others_does_not(
    tmp_path: Path,
) -> None:
    with Nodes() as nodes:
        nodes.add()
        first = train(tmp_path / "first", nodes.address, ALL_NODES)
        wait_until(lambda: has_workers(tmp_path / "first"), first, tmp_path / "first")
        second = train(tmp_path / "second", nodes.address, ALL_NODES)
        large = train(tmp_path / "large", nodes.address, ["resources.cpus_per_worker=2"])
        finish(large, tmp_path / "large", code=2)
        assert (
            "is too small: resources ask for 1 worker of 2 CPUs (1 at a time x 1), but there is "
            "room for 0, largest node first: 2 nodes of 1 CPUs"
        ) in " ".join((tmp_path / "large" / "log").read_text().split())

        wait_until(lambda: has_begun(tmp_path / "second"), second, tmp_path / "second")
        time.sleep(LOST_S + 20)
        assert second.poll() is None
        assert not has_workers(tmp_path / "second")

        nodes.lose()
        lost = time.time()
        finish(first, tmp_path / "first", code=1)
        finish(second, tmp_path / "second", code=1)
        assert time.time() - lost < 60

    for name in ("first", "second"):
        assert (
            "resources ask for 2 workers of 1 CPUs (1 at a time x 2), but there is room for 1, "
            "largest node first: 1 node of 1 CPUs"
        ) in " ".join((tmp_path / name / "log").read_text().split())
