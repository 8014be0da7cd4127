"""Runs on disk: a JSON file per task, strategy and block of seeds, so that a killed run goes on."""

import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.simulator import at_budgets, simulate
from benchmarks.replay.strategies import STRATEGIES, VARIANTS
from benchmarks.replay.tasks import find_task

BUDGETS = (1, 2, 3, 4, 5, 7, 10, 14, 20, 25, 30, 40, 50, 70, 100)
"""In full trainings; where regret is read."""
Regrets = NDArray[np.float64]
"""(seeds, budgets)."""
Results = dict[str, dict[str, Regrets]]
"""Task -> strategy -> regrets."""
BLOCK = 5
"""Seeds that one process takes at a time."""


def run_all(
    out: Path,
    *,
    tasks: Sequence[str],
    strategies: Sequence[str],
    seeds: int,
    budget: int,
    processes: int,
) -> None:
    """Runs what `out` does not hold yet, all tasks and strategies side by side."""
    blocks = [range(at, min(at + BLOCK, seeds)) for at in range(0, seeds, BLOCK)]
    todo = [
        (out, task, strategy, list(block), budget)
        for block in blocks
        for task in tasks
        for strategy in strategies
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(run_block, todo):
            pass


def run_block(job: tuple[Path, str, str, list[int], int]) -> None:
    """Runs some seeds of a strategy on a task, unless they are there for this budget or more."""
    out, task_name, strategy, seeds, budget = job
    path = out / "runs" / f"{task_name}--{strategy}--{seeds[0]:03d}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("budget", 0) >= budget and len(known.get("regrets", ())) >= len(seeds):
        return
    task, build = find_task(task_name), {**STRATEGIES, **VARIANTS}[strategy]
    budgets = [b for b in BUDGETS if b <= budget]
    regrets = [
        at_budgets(simulate(task, build(task, seed), seed=seed, budget=budget), budgets)
        for seed in seeds
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"budget": budget, "regrets": regrets}))
    partial.replace(path)


def read_results(
    out: Path, *, tasks: Iterable[str], strategies: Sequence[str], budget: int
) -> Results:
    """Returns the runs of that budget or more: of each task the seeds that all strategies have."""
    results: Results = {}
    for task in tasks:
        found = {s: _read(out, task, s, budget=budget) for s in strategies}
        seeds = sorted(set.intersection(*(set(rows) for rows in found.values())))
        if seeds:
            results[task] = {
                s: np.array([rows[seed] for seed in seeds]) for s, rows in found.items()
            }
    return results


def _read(out: Path, task: str, strategy: str, *, budget: int) -> dict[int, list[float]]:
    rows: dict[int, list[float]] = {}
    for path in (out / "runs").glob(f"{task}--{strategy}--*.json"):
        stored = json.loads(path.read_text())
        if stored["budget"] >= budget:
            first = int(path.stem.rpartition("--")[2])
            columns = len([b for b in BUDGETS if b <= budget])
            rows |= {first + i: row[:columns] for i, row in enumerate(stored["regrets"])}
    return rows
