"""Runs or resumes a tiny search without Ray, as a process of its own: `local_driver.py FOLDER`."""

import sys
from pathlib import Path

from launch import TINY
from repository import DEMO

from benchmarks.local_search import run_locally
from search.folder import SearchFolder
from search.load import load_experiment
from search.overrides import parse_overrides

PROMOTING = [
    "ladder.decide=promote",
    "sampler={name: tpe, seed: 3, startup_trials: 3, random_share: 0.1, min_observations: 3}",
    "budget.trials=8",
    "resources.concurrent_trials=1",
    "checkpoints.minutes=0.002",
]


def main(root: Path, overrides: list[str]) -> None:
    """Returns when the budget is spent."""
    changes = parse_overrides([*TINY, *PROMOTING, *overrides])
    experiment = load_experiment(DEMO, changes)
    run_locally(SearchFolder(root=root), experiment, workers=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
