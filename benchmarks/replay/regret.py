"""What the runs say: medians with intervals, ratios, ranks, and each task against chance.

Intervals are of a bootstrap over tasks and, within them, over seeds: tasks differ more than seeds
do, so seeds alone would make them too narrow. Strategies keep their pairing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.replay.runs import BUDGETS, Results

RESAMPLES = 1000
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and the middle 95 % of its bootstrap."""

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True, kw_only=True)
class AgainstChance:
    """One task: our mean regret less that of random search, over seeds."""

    task: str
    difference: Interval

    @property
    def is_worse(self) -> bool:
        """Whether it is worse by more than noise."""
        return self.difference.low > 0


def medians(results: Results, *, budget: int) -> dict[str, Interval]:
    """Returns each strategy's median regret over tasks and seeds."""
    return _with_intervals(results, budget=budget, of=_median)


def means_of_medians(results: Results, *, budget: int) -> dict[str, Interval]:
    """Returns the mean over tasks of each task's median regret over seeds."""
    return _with_intervals(
        results, budget=budget, of=lambda tables: np.mean([np.median(t, axis=0) for t in tables], 0)
    )


def ratios(results: Results, *, budget: int, of: str) -> dict[str, Interval]:
    """Returns the median regret of `of` in units of each strategy's."""
    index = strategies_of(results).index(of)

    def ratio(tables: Sequence[Array]) -> Array:
        found = _median(tables)
        return found[index] / np.maximum(found, 1e-12)

    return _with_intervals(results, budget=budget, of=ratio)


def mean_ranks(results: Results, *, budget: int) -> dict[str, Interval]:
    """Returns the mean over tasks and seeds of the place among the strategies; 1 is best."""

    def ranks(tables: Sequence[Array]) -> Array:
        return np.mean([rankdata(table, axis=1).mean(axis=0) for table in tables], axis=0)

    return _with_intervals(results, budget=budget, of=ranks)


def against_chance(results: Results, *, budget: int, of: str, chance: str) -> list[AgainstChance]:
    """Returns for each task how `of` differs from random search."""
    at = BUDGETS.index(budget)
    rng = np.random.default_rng(0)
    found: list[AgainstChance] = []
    for task, by_strategy in results.items():
        difference = by_strategy[of][:, at] - by_strategy[chance][:, at]
        draws = rng.integers(len(difference), size=(RESAMPLES, len(difference)))
        low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
        mean = float(difference.mean())
        found.append(
            AgainstChance(
                task=task, difference=Interval(value=mean, low=float(low), high=float(high))
            )
        )
    return found


def strategies_of(results: Results) -> list[str]:
    """Returns the strategies, in the order of the columns."""
    return list(next(iter(results.values())))


def _median(tables: Sequence[Array]) -> Array:
    return np.median(np.concatenate(tables), axis=0)


def _with_intervals(
    results: Results, *, budget: int, of: Callable[[Sequence[Array]], Array]
) -> dict[str, Interval]:
    """Applies `of` to one (seeds, strategies) table per task, and to resampled ones."""
    at = BUDGETS.index(budget)
    tables = [np.stack([r[:, at] for r in each.values()], axis=1) for each in results.values()]
    rng = np.random.default_rng(0)
    resampled: list[Array] = []
    for _ in range(RESAMPLES):
        picked = [tables[i] for i in rng.integers(len(tables), size=len(tables))]
        resampled.append(of([t[rng.integers(len(t), size=len(t))] for t in picked]))
    lows, highs = np.percentile(np.array(resampled), [2.5, 97.5], axis=0)
    return {
        name: Interval(value=float(value), low=float(low), high=float(high))
        for name, value, low, high in zip(
            strategies_of(results), of(tables), lows, highs, strict=True
        )
    }
