"""Where the next configuration comes from: chance, a grid, Optuna's TPE, TPE on one rung."""

import itertools
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection

from benchmarks.replay.parzen import Array, Axes, propose_by_tpe
from benchmarks.replay.task import draw_sample
from search.space.space import (
    ChoiceAxis,
    IntAxis,
    LogUniformAxis,
    Sample,
    Space,
    leaf_axes,
    suggest,
)
from search.strategy.expectation import expected_values
from search.strategy.observed import Observed
from search.strategy.ranking import in_direction
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import propose

Propose = Callable[[Sequence[Observed], int], Sample]
"""All trials so far, and the number of the next one."""
GRID_POINTS = 3


def by_chance(space: Space, *, seed: int) -> Propose:
    """Draws each axis by itself."""
    draw = random.Random(seed)
    return lambda trials, number: draw_sample(space, draw)


def by_grid(space: Space, *, seed: int) -> Propose:
    """Takes the points of a grid in random order, again and again."""
    axes = {name: _places(axis) for name, _, axis, _ in leaf_axes(space)}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    random.Random(seed).shuffle(points)
    return lambda trials, number: dict(points[number % len(points)])


def _places(axis: Any) -> Sequence[Any]:
    if isinstance(axis, ChoiceAxis):
        return axis.choices
    low, high = axis.bounds
    shares = [i / (GRID_POINTS - 1) for i in range(GRID_POINTS)]
    if isinstance(axis, LogUniformAxis):
        return [low * (high / low) ** share for share in shares]
    places = [low + (high - low) * share for share in shares]
    return sorted({round(place) for place in places}) if isinstance(axis, IntAxis) else places


def by_optuna(space: Space, *, seed: int, objectives: int, multivariate: bool) -> Propose:
    """Asks Optuna's TPE as it comes, told what each trial showed last, as COMPLETE.

    With full trainings alone this is plain TPE; beside a scheduler that stops trials it is Ray's
    OptunaSearch.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=multivariate)
    study = optuna.create_study(directions=[StudyDirection.MAXIMIZE] * objectives, sampler=sampler)
    asked: dict[int, optuna.trial.Trial] = {}
    told: set[int] = set()

    def next_sample(trials: Sequence[Observed], number: int) -> Sample:
        for trial in trials:
            if trial.number not in told and trial.status in ("completed", "stopped"):
                study.tell(asked.pop(trial.number), trial.values[trial.highest])
                told.add(trial.number)
        asked[number] = study.ask()
        return suggest(asked[number], space)

    return next_sample


def by_last_values(space: Space, *, seed: int, startup: int) -> Propose:
    """The same rule as `by_optuna` for one objective, on arrays."""
    axes, draw = Axes(space), random.Random(seed)
    rows = _Rows(axes)
    last: dict[int, float] = {}

    def next_sample(trials: Sequence[Observed], number: int) -> Sample:
        for trial in trials:
            if trial.status != "running" and trial.number not in last:
                last[trial.number] = trial.values[trial.highest][0]
        if len(last) < startup:
            return draw_sample(space, draw)
        told = sorted(last)
        running = [t.number for t in trials if t.status == "running"]
        rows.take(trials)
        return propose_by_tpe(
            rows.of(told), [last[n] for n in told], rows.of(running), axes, draw=draw
        )

    return next_sample


def by_rung(
    space: Space, *, seed: int, startup: int, random_share: float, min_observations: int
) -> Propose:
    """TPE on the highest rung that enough trials have reached (BOHB's rule), on arrays."""
    axes, draw = Axes(space), random.Random(seed)
    rows = _Rows(axes)

    def next_sample(trials: Sequence[Observed], number: int) -> Sample:
        level = modelled_level(trials, at_least=min_observations)
        told = sum(bool(t.values) for t in trials)
        if level is None or told < startup or draw.random() < random_share:
            return draw_sample(space, draw)
        there = [t for t in trials if level in t.values]
        running = [t.number for t in trials if t.status == "running" and level not in t.values]
        rows.take(trials)
        values = [t.values[level][0] for t in there]
        seen = rows.of([t.number for t in there])
        return propose_by_tpe(seen, values, rows.of(running), axes, draw=draw)

    return next_sample


def modelled_level(trials: Sequence[Observed], *, at_least: int) -> int | None:
    """Returns the highest level that so many trials have reached; None where there is none."""
    levels = sorted({level for t in trials for level in t.values}, reverse=True)
    return next((k for k in levels if sum(k in t.values for t in trials) >= at_least), None)


def by_expectation(
    space: Space,
    *,
    seed: int,
    startup: int,
    random_share: float,
    pairs: int,
    candidates: int,
    distinct: bool,
) -> Propose:
    """Our rule, on arrays: TPE on what each trial is expected to show at the end, of several
    objectives in a direction that is drawn for each trial."""
    axes, draw = Axes(space), random.Random(seed)
    rows = _Rows(axes)

    def next_sample(trials: Sequence[Observed], number: int) -> Sample:
        there = [t for t in trials if t.values]
        if len(there) < startup or draw.random() < random_share:
            return draw_sample(space, draw)
        running = [t.number for t in trials if not t.values]
        rows.take(trials)
        weights = [draw.expovariate(1.0) for _ in there[0].values[there[0].highest]]
        at_end = [expected_values(there, objective=o, at_least=pairs) for o in range(len(weights))]
        each = [tuple(of_one[t.number] for of_one in at_end) for t in there]
        values = in_direction(each, [w / sum(weights) for w in weights])
        seen = rows.of([t.number for t in there])
        return propose_by_tpe(
            seen,
            values,
            rows.of(running),
            axes,
            draw=draw,
            candidates=candidates,
            distinct=distinct,
        )

    return next_sample


def by_rampart(space: Space, sampler: TpeConfig) -> Propose:
    """Asks our own strategy, as the search does."""
    return lambda trials, number: propose(trials, space, sampler, number=number)


class _Rows:
    """Trials as rows, encoded once; a trial's number is its place."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes
        self._rows = np.empty((64, len(axes.names)))
        self._count = 0

    def take(self, trials: Sequence[Observed]) -> None:
        """Encodes the new ones."""
        while len(trials) > len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        for trial in trials[self._count :]:
            self._rows[trial.number] = self._axes.encode(dict(trial.params))
        self._count = len(trials)

    def of(self, numbers: Sequence[int]) -> Array:
        """Returns the rows of these trials."""
        return self._rows[np.array(numbers, dtype=int)]
