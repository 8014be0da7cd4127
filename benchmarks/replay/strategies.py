"""The strategies by name: ours, and those that it must beat, all on one simulator."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

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
from benchmarks.replay.simulator import Assignment, Strategy, Verdict
from benchmarks.replay.task import EPOCHS, Task, Values
from search.strategy.config import LadderConfig
from search.strategy.ladder import next_job, verdict
from search.strategy.observed import Observed
from search.strategy.sampler_config import TpeConfig

RUNGS = (3, 9)
REDUCTION = 3
STARTUP = 10
"""Random trials before TPE, Optuna's default."""
RAY_RUNGS = (1, 4, 16)
RAY_REDUCTION = 4
"""Tune's AsyncHyperBandScheduler: grace_period 1, reduction_factor 4 (ray 2.60, by default)."""
Build = Callable[[Task, int], Strategy]
"""A task and a seed -> a strategy at its beginning."""


class _Trials:
    """The trials as decisions see them."""

    def __init__(self, propose: Propose) -> None:
        self.all: list[Observed] = []
        self._propose = propose

    def add(self, *, level: int) -> Observed:
        number = len(self.all)
        trial = Observed(
            number=number,
            status="running",
            params=self._propose(self.all, number),
            values={},
            goal=level,
            first=level,
            bracket=str(level),
        )
        self.all.append(trial)
        return trial

    def saw(self, number: int, level: int, values: Values) -> Observed:
        trial = self.all[number]
        self.all[number] = replace(trial, values={**trial.values, level: values})
        return self.all[number]

    def set_status(self, number: int, decided: Verdict, *, is_last: bool) -> None:
        status = "completed" if is_last else _STATUS[decided]
        self.all[number] = replace(self.all[number], status=status)


_STATUS: Mapping[Verdict, str] = {"go_on": "running", "pause": "paused", "stop": "stopped"}


class Laddered:
    """Our ladder of fidelities, `search.strategy.ladder`, with any source of configurations."""

    def __init__(self, propose: Propose, ladder: LadderConfig) -> None:
        self.epochs: tuple[int, ...] = (*ladder.rungs, EPOCHS)
        self._ladder = ladder
        self._trials = _Trials(propose)

    def assign(self) -> Assignment | None:
        """Asks the ladder, and the source if it wants a new trial."""
        job = next_job(self._trials.all, self._ladder, may_start=True)
        if job is None:
            return None
        if job.number is None:
            # A trial that starts is checked at its first rung, whatever its goal.
            trial = self._trials.add(level=job.first)
            return Assignment(number=trial.number, sample=dict(trial.params), level=job.first)
        trial = replace(self._trials.all[job.number], status="running", goal=job.level)
        self._trials.all[job.number] = trial
        return Assignment(number=job.number, sample=dict(trial.params), level=job.level)

    def show(self, number: int, level: int, values: Values) -> Verdict:
        """Asks the ladder."""
        self._trials.saw(number, level, values)
        decided = verdict(self._trials.all, self._ladder, number=number, level=level)
        self._trials.set_status(number, decided, is_last=level == self._ladder.top)
        return decided


class Delayed:
    """Promotion-type ASHA that holds the share of promotions: Hyper-Tune's D-ASHA (Li et al. 2022,
    arXiv:2201.06834): one goes up only while those above are fewer than 1 / reduction of a rung."""

    def __init__(self, propose: Propose, ladder: LadderConfig) -> None:
        self.epochs: tuple[int, ...] = (*ladder.rungs, EPOCHS)
        self._ladder = ladder
        self._trials = _Trials(propose)

    def assign(self) -> Assignment | None:
        """Promotes from the highest rung that may, or starts a new trial."""
        for level in reversed(range(self._ladder.top)):
            there = [t for t in self._trials.all if level in t.values]
            above = sum(t.goal > level for t in there)
            places = len(there) // self._ladder.reduction
            if above >= places:
                continue
            best = sorted(there, key=lambda t: -t.values[level][0])[:places]
            for trial in best:
                if trial.status == "paused" and trial.highest == level:
                    up = replace(trial, status="running", goal=level + 1)
                    self._trials.all[trial.number] = up
                    sample = dict(trial.params)
                    return Assignment(number=trial.number, sample=sample, level=level + 1)
        trial = self._trials.add(level=0)
        return Assignment(number=trial.number, sample=dict(trial.params), level=0)

    def show(self, number: int, level: int, values: Values) -> Verdict:
        """Every trial pauses at every rung."""
        self._trials.saw(number, level, values)
        self._trials.set_status(number, "pause", is_last=level == self._ladder.top)
        return "pause"


class RayDefault:
    """Ray Tune's AsyncHyperBandScheduler, which tells the searcher COMPLETE at whatever it stops.

    A trial goes on unless it is below the 1 - 1 / reduction percentile of what others showed at the
    milestone (`_Bracket.on_result`, ray 2.60). Source of the rest: OptunaSearch.on_trial_complete.
    """

    def __init__(self, propose: Propose) -> None:
        self.epochs: tuple[int, ...] = (*RAY_RUNGS, EPOCHS)
        self._trials = _Trials(propose)
        self._recorded: dict[int, list[float]] = {}

    def assign(self) -> Assignment | None:
        """Always starts a new trial."""
        trial = self._trials.add(level=0)
        return Assignment(number=trial.number, sample=dict(trial.params), level=0)

    def show(self, number: int, level: int, values: Values) -> Verdict:
        """Stops a trial below the percentile."""
        self._trials.saw(number, level, values)
        others = self._recorded.setdefault(level, [])
        is_low = bool(others) and values[0] < np.percentile(others, 100 * (1 - 1 / RAY_REDUCTION))
        others.append(values[0])
        is_last = level + 1 == len(self.epochs)
        decided = "stop" if is_low and not is_last else "go_on"
        self._trials.set_status(number, decided, is_last=is_last)
        return decided


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
    startup: int = 10,
    random_share: float = 0.1,
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
    startup: int = 10,
    random_share: float = 0.1,
    pairs: int = 6,
    delayed: bool = False,
    how: Mapping[str, Any] | None = None,
    **climb: object,
) -> Build:
    """Returns TPE on expected final values."""

    def build(task: Task, seed: int) -> Strategy:
        if task.reference:
            sampler = TpeConfig(name="tpe", seed=seed, random_share=random_share)
            rule = by_expectations(task.space, sampler, pairs=pairs)
            return Laddered(rule, ladder(**climb))
        rule = by_expectation(
            task.space,
            seed=seed,
            startup=startup,
            random_share=random_share,
            pairs=pairs,
            **(how or {}),
        )
        return (Delayed if delayed else Laddered)(rule, ladder(**climb))

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
}
"""What the report compares."""
VARIANTS: Mapping[str, Build] = {
    "rampart-optuna": rampart(),
    "stop": quick_rampart(decide="stop"),
    "growth": quick_rampart(growth=True),
    "random0": quick_rampart(random_share=0.0),
    "random33": quick_rampart(random_share=1 / 3),
    "min4": quick_rampart(min_observations=4),
    "min10": quick_rampart(min_observations=10),
    "reduction2": quick_rampart(reduction=2),
    "reduction4": quick_rampart(reduction=4),
    "rungs1": quick_rampart(rungs=(1, 3, 9)),
    "rung9": quick_rampart(rungs=(9,)),
    "brackets": quick_rampart(brackets=2),
    "min20": quick_rampart(min_observations=20),
    "expect": expecting(),
    "expect10": expecting(pairs=10),
    "expect-random0": expecting(random_share=0.0),
    "expect-reduction2": expecting(reduction=2),
    "expect-rungs1": expecting(rungs=(1, 3, 9)),
    "expect-stop": expecting(decide="stop"),
    "x-startup5": expecting(startup=5),
    "x-cand96": expecting(how={"candidates": 96}),
    "x-share20": expecting(how={"share": 0.2}),
    "x-share5": expecting(how={"share": 0.05}),
    "x-distinct": expecting(how={"distinct": True}),
    "x-delayed-random0": expecting(delayed=True, random_share=0.0, how={"distinct": True}),
    "x-delayed-cand96": expecting(delayed=True, how={"distinct": True, "candidates": 96}),
    "delayed": expecting(delayed=True),
    "delayed-distinct": expecting(delayed=True, how={"distinct": True}),
    "delayed-rungs1": expecting(delayed=True, rungs=(1, 3, 9)),
    "delayed-reduction2": expecting(delayed=True, reduction=2),
}
"""Ours with one thing changed, tried on the development tasks."""
