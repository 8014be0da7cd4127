"""Processes and seconds from Tune's start of a trial to its train function: Ray Train's own trainer
and ours take turns: `python -m benchmarks.startup`.

The trials are nested as in a search (`search/cluster/driver.py`) and train nothing.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.train import RunConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.tune import TuneConfig, Tuner
from ray.tune.integration.ray_train import TuneReportCallback

from search.cluster.connect import connected
from search.cluster.train_group import GroupTrainer, scaling_config
from search.cluster.tuner import DRIVER_RESOURCES
from search.resources import WorkersConfig

RESOURCES = WorkersConfig(
    workers=1, min_workers=1, cpus_per_worker=1, gpus_per_worker=0.0, worker_restarts=0
)
SETTLE_S = 3.0
"""Until all processes of a run have begun, and those of the one before are gone."""
TRAINERS: dict[str, type[DataParallelTrainer]] = {
    "ray": DataParallelTrainer,
    "ours": GroupTrainer,
}


def drive(params: dict[str, Any]) -> None:
    """Times one trial, as a Tune trainable; `params` are the trainer's name and a folder."""
    note = Path(params["folder"]) / str(params["number"])
    started = time.time()
    TRAINERS[params["trainer"]](
        train,
        train_loop_config={"note": str(note)},
        scaling_config=scaling_config(RESOURCES),
        run_config=RunConfig(
            name=f"run{params['number']}",
            storage_path=params["folder"],
            callbacks=[TuneReportCallback()],
        ),
    ).fit()
    reached, *processes = note.read_text().split("\n")
    tune.report({"seconds": float(reached) - started, "processes": processes})


def train(config: dict[str, Any]) -> None:
    """Notes when it was called, and the processes that Ray runs for something by then."""
    reached = time.time()
    time.sleep(SETTLE_S)
    Path(config["note"]).write_text("\n".join([str(reached), *busy_processes()]))


def busy_processes() -> list[str]:
    """Names the processes of this Ray, the only one with our parent, that are not idle."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            title = (entry / "cmdline").read_text() if entry.name.isdigit() else ""
            if title.startswith("ray::") and not title.startswith("ray::IDLE"):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                found += [title.strip("\0")[len("ray::") :]] if int(parent) == os.getppid() else []
        except (OSError, UnicodeDecodeError):  # it ended meanwhile, or is no Ray
            continue
    return sorted(found)


def trials(trainer: str, numbers: range, *, concurrent: int, folder: str) -> list[dict[str, Any]]:
    """Runs trials of one trainer; returns what each reported."""
    results = Tuner(
        tune.with_resources(drive, tune.PlacementGroupFactory([DRIVER_RESOURCES])),
        param_space={
            "trainer": trainer,
            "folder": folder,
            "number": tune.grid_search(list(numbers)),
        },
        tune_config=TuneConfig(max_concurrent_trials=concurrent),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    return [result.metrics or {} for result in results]


def main() -> None:
    """Prints both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4, help="of each trainer")
    parser.add_argument("--concurrent", type=int, default=1)
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAINERS}
    per_round = options.concurrent
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(None, RESOURCES, concurrent=options.concurrent),
    ):
        trials("ray", range(1), concurrent=1, folder=folder)  # the first starts shared actors
        for start in range(1, 1 + 2 * options.trials, 2 * per_round):
            for turn, name in enumerate(TRAINERS):
                first = start + turn * per_round
                numbers = range(first, first + per_round)
                found[name] += trials(name, numbers, concurrent=options.concurrent, folder=folder)
    seconds = {
        name: statistics.median(row["seconds"] for row in rows) for name, rows in found.items()
    }
    for name, rows in found.items():
        each = " ".join(f"{row['seconds']:.1f}" for row in rows)
        print(f"{name:5s} median {seconds[name]:.2f} s of {each}")  # noqa: T201
        last = rows[-1]["processes"]
        print(f"      {len(last)} processes: {', '.join(last)}")  # noqa: T201
    print(f"ours / ray {seconds['ours'] / seconds['ray']:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
