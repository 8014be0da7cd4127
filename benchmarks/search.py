"""Search strategies replayed on tables and formulas: `python -m benchmarks.search`.

Runs every strategy on every task with the same seeds, on simulated time, and prints what the runs
say. What was run stays in `--out`, so a killed run goes on, and the tables and the picture can be
made again at once. Regret is 1 for what a random configuration gives at the median and 0 for the
best there is; of hypervolume where a task has two objectives.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from benchmarks.replay.pictures import draw_regret
from benchmarks.replay.regret import (
    Interval,
    against_chance,
    mean_ranks,
    means_of_medians,
    medians,
    ratios,
    strategies_of,
)
from benchmarks.replay.runs import BUDGETS, Results, read_results, run_all
from benchmarks.replay.strategies import STRATEGIES
from benchmarks.replay.tasks import task_names

CHANCE = "random"
REPORTED = (10, 30, 100)
SHORTEST = REPORTED[0]
"""Has no panel of its own."""


def print_tables(results: Results, *, budget: int, ours: str) -> None:
    """Prints what the runs say at a budget."""
    print(f"\n{budget} full trainings")  # noqa: T201
    columns: Mapping[str, Mapping[str, Interval]] = {
        "median": medians(results, budget=budget),
        "mean of tasks' medians": means_of_medians(results, budget=budget),
        f"{ours} / it": ratios(results, budget=budget, of=ours),
        "mean rank": mean_ranks(results, budget=budget),
    }
    print(f"| strategy | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")  # noqa: T201
    for name in strategies_of(results):
        cells = [f"{column[name]:.3f}" for column in columns.values()]
        print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201
    if CHANCE not in strategies_of(results):
        return
    for each in against_chance(results, budget=budget, of=ours, chance=CHANCE):
        flag = "  WORSE THAN RANDOM" if each.is_worse else ""
        print(f"  {each.task:36s} {ours} - {CHANCE}: {each.difference:+.4f}{flag}")  # noqa: T201


def main() -> None:
    """Runs what is missing, and prints and draws what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["test", "cost-test"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budget", type=int, choices=BUDGETS, default=100)
    parser.add_argument("--ours", default="rampart")
    parser.add_argument("--out", type=Path, default=Path("replay"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only-read", action="store_true", help="run nothing")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # two processes share the machine
    tasks = task_names(options.tasks)
    if not options.only_read:
        run_all(
            options.out,
            tasks=tasks,
            strategies=options.strategies,
            seeds=options.seeds,
            budget=options.budget,
            processes=options.processes,
        )
    sets = {
        "one objective": [task for task in tasks if not task.endswith("-cost")],
        "accuracy and cost": [task for task in tasks if task.endswith("-cost")],
    }
    panels: dict[str, Results] = {}
    for title, names in sets.items():
        for budget in (b for b in REPORTED if b <= options.budget):
            results = read_results(
                options.out, tasks=names, strategies=options.strategies, budget=budget
            )
            if results:
                seeds = min(len(next(iter(each.values()))) for each in results.values())
                print(f"\n{title}, {len(results)} tasks, {seeds} seeds")  # noqa: T201
                print_tables(results, budget=budget, ours=options.ours)
                if budget > SHORTEST:
                    panels[f"{title}, {seeds} seeds"] = results
    draw_regret(options.out / "regret.png", panels, ours=options.ours)


if __name__ == "__main__":
    main()
