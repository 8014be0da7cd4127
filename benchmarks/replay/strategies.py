"""The strategies by name: ours, and those that it must beat, all on one simulator."""

from collections.abc import Callable, Mapping

from benchmarks.replay.climbers import Delayed, Laddered, RayDefault
from benchmarks.replay.parzen import CANDIDATES
from benchmarks.replay.proposals import (
    Propose,
    by_chance,
    by_expectation,
    by_expectations,
    by_grid,
    by_last_values,
    by_optuna,
    by_rampart,
    by_rung,
)
from benchmarks.replay.simulator import Strategy
from benchmarks.replay.task import Task
from search.strategy.config import LadderConfig
from search.strategy.sampler_config import TpeConfig

RUNGS = (3, 9)
REDUCTION = 3
STARTUP = 10
"""Random trials before TPE, Optuna's default."""
RANDOM_SHARE = 0.1
Build = Callable[[Task, int], Strategy]
"""A task and a seed -> a strategy at its beginning."""


def ladder(**fields: object) -> LadderConfig:
    """Returns a ladder with this benchmark's rungs, and fields changed."""
    return LadderConfig.model_validate({"rungs": RUNGS, "reduction": REDUCTION, **_RACE, **fields})


_RACE = {"race": {"first_block": 60, "alpha": 0.05}}
FULL = {"rungs": (), "decide": "none"}


def _random_full(task: Task, seed: int) -> Strategy:
    return Laddered(by_chance(task.space, seed=seed), ladder(**FULL))


def _grid_full(task: Task, seed: int) -> Strategy:
    return Laddered(by_grid(task.space, seed=seed), ladder(**FULL))


def _tpe_full(task: Task, seed: int) -> Strategy:
    return Laddered(_optuna(task, seed), ladder(**FULL))


def _optuna(task: Task, seed: int) -> Propose:
    """Optuna's own default: multivariate for one objective, each axis by itself for several."""
    objectives = max(1, len(task.reference))
    return by_optuna(task.space, seed=seed, objectives=objectives, multivariate=objectives == 1)


def _random_asha_stop(task: Task, seed: int) -> Strategy:
    return Laddered(by_chance(task.space, seed=seed), ladder(decide="stop"))


def _random_asha_promote(task: Task, seed: int) -> Strategy:
    return Laddered(by_chance(task.space, seed=seed), ladder(decide="promote"))


def _bohb(task: Task, seed: int) -> Strategy:
    """Falkner et al. 2018: Hyperband's brackets, a third random, dimensions + 1 observations."""
    rule = by_rung(
        task.space, seed=seed, startup=0, random_share=1 / 3, min_observations=len(task.space) + 2
    )
    return Laddered(rule, ladder(brackets=3))


def _ray_default(task: Task, seed: int) -> Strategy:
    if task.reference:
        return RayDefault(_optuna(task, seed))
    return RayDefault(by_last_values(task.space, seed=seed, startup=STARTUP))


def rampart(
    *, sampler: Mapping[str, object] | None = None, climb: Mapping[str, object] | None = None
) -> Build:
    """Returns our strategy with fields of its sampler and its ladder changed."""

    def build(task: Task, seed: int) -> Strategy:
        config = TpeConfig.model_validate({"name": "tpe", "seed": seed, **(sampler or {})})
        return Laddered(by_rampart(task.space, config), ladder(**(climb or {})))

    return build


def quick_rampart(
    *,
    startup: int = STARTUP,
    random_share: float = RANDOM_SHARE,
    min_observations: int = 6,
    **climb: object,
) -> Build:
    """Returns the same rule on arrays, for trying variants."""

    def build(task: Task, seed: int) -> Strategy:
        if task.reference:
            return rampart(climb=climb)(task, seed)
        rule = by_rung(
            task.space,
            seed=seed,
            startup=startup,
            random_share=random_share,
            min_observations=min_observations,
        )
        return Laddered(rule, ladder(**climb))

    return build


def expecting(
    *,
    pairs: int = 6,
    candidates: int = CANDIDATES,
    distinct: bool = False,
    delayed: bool = False,
    **climb: object,
) -> Build:
    """Returns TPE on expected final values; otherwise as ours."""

    def build(task: Task, seed: int) -> Strategy:
        climber = Delayed if delayed else Laddered
        if task.reference:
            sampler = TpeConfig(name="tpe", seed=seed)
            return climber(by_expectations(task.space, sampler, pairs=pairs), ladder(**climb))
        rule = by_expectation(
            task.space,
            seed=seed,
            startup=STARTUP,
            random_share=RANDOM_SHARE,
            pairs=pairs,
            candidates=candidates,
            distinct=distinct,
        )
        return climber(rule, ladder(**climb))

    return build


STRATEGIES: Mapping[str, Build] = {
    "random": _random_full,
    "grid": _grid_full,
    "tpe": _tpe_full,
    "asha-stop": _random_asha_stop,
    "asha-promote": _random_asha_promote,
    "bohb": _bohb,
    "ray-default": _ray_default,
    "rampart": quick_rampart(),
    "expected": expecting(candidates=96, distinct=True, delayed=True),
}
"""What the report compares. `rampart` is search.strategy as it is; `expected` would follow it."""
VARIANTS: Mapping[str, Build] = {
    "rampart-optuna": rampart(),
    "stop": quick_rampart(decide="stop"),
    "growth": quick_rampart(growth=True),
    "random0": quick_rampart(random_share=0.0),
    "random33": quick_rampart(random_share=1 / 3),
    "min4": quick_rampart(min_observations=4),
    "min10": quick_rampart(min_observations=10),
    "min20": quick_rampart(min_observations=20),
    "reduction2": quick_rampart(reduction=2),
    "rungs1": quick_rampart(rungs=(1, 3, 9)),
    "rung9": quick_rampart(rungs=(9,)),
    "brackets": quick_rampart(brackets=2),
    "expected-values": expecting(),
    "expected-pairs10": expecting(pairs=10),
    "expected-distinct": expecting(distinct=True),
    "expected-candidates": expecting(candidates=96),
    "expected-delayed": expecting(delayed=True),
    "expected-reduction2": expecting(reduction=2),
    "expected-rungs1": expecting(rungs=(1, 3, 9)),
}
"""Ours with one thing changed, tried on the development tasks; `rampart-optuna` is `rampart` by the
search's own functions to the last, on Optuna's storage, and ten times as slow."""
