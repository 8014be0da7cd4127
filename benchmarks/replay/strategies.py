"""The strategies by name: ours, and those that it must beat, all on one simulator."""

from collections.abc import Callable, Mapping

from benchmarks.replay.climbers import Laddered, PlainAsha, RayDefault
from benchmarks.replay.proposals import (
    Propose,
    by_chance,
    by_expectation,
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
    return PlainAsha(by_chance(task.space, seed=seed), ladder())


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
    """Returns our strategy, by the search's own functions, with fields changed."""

    def build(task: Task, seed: int) -> Strategy:
        config = TpeConfig.model_validate({"name": "tpe", "seed": seed, **(sampler or {})})
        return Laddered(by_rampart(task.space, config), ladder(**(climb or {})))

    return build


def quick_rampart(
    *, random_share: float = RANDOM_SHARE, pairs: int = 6, candidates: int = 96, **climb: object
) -> Build:
    """Returns the same on arrays: five times as fast."""

    def build(task: Task, seed: int) -> Strategy:
        rule = by_expectation(
            task.space,
            seed=seed,
            startup=STARTUP,
            random_share=random_share,
            pairs=pairs,
            candidates=candidates,
            distinct=True,
        )
        return Laddered(rule, ladder(**climb))

    return build


def highest_rung(*, min_observations: int = 6, **climb: object) -> Build:
    """Returns TPE on the highest rung alone, beside plain ASHA: what ours was at first."""

    def build(task: Task, seed: int) -> Strategy:
        if task.reference:
            return _random_asha_promote(task, seed)
        rule = by_rung(
            task.space,
            seed=seed,
            startup=STARTUP,
            random_share=RANDOM_SHARE,
            min_observations=min_observations,
        )
        return PlainAsha(rule, ladder(**climb))

    return build


STRATEGIES: Mapping[str, Build] = {
    "random": _random_full,
    "grid": _grid_full,
    "tpe": _tpe_full,
    "asha-stop": _random_asha_stop,
    "asha-promote": _random_asha_promote,
    "bohb": _bohb,
    "ray-default": _ray_default,
    "highest-rung": highest_rung(),
    "rampart": quick_rampart(),
}
"""What the report compares."""
VARIANTS: Mapping[str, Build] = {
    "rampart-optuna": rampart(),
    "stop": quick_rampart(decide="stop"),
    "growth": quick_rampart(growth=True),
    "random0": quick_rampart(random_share=0.0),
    "pairs10": quick_rampart(pairs=10),
    "candidates24": quick_rampart(candidates=24),
    "reduction2": quick_rampart(reduction=2),
    "rungs1": quick_rampart(rungs=(1, 3, 9)),
    "brackets": quick_rampart(brackets=2),
}
"""Ours with one thing changed, to be tried on the development tasks; `rampart-optuna` is `rampart`
by the search's own functions to the last, on Optuna's storage."""
