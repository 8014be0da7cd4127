"""Who trains on, around any source of configurations: our ladder, a delayed one, Ray's default."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.replay.proposals import Propose
from benchmarks.replay.simulator import Assignment
from benchmarks.replay.task import EPOCHS, Values
from search.strategy.config import LadderConfig
from search.strategy.ladder import Verdict, next_job, verdict
from search.strategy.observed import Observed, ObservedStatus
from search.strategy.ranking import scores

RAY_RUNGS = (1, 4, 16)
RAY_REDUCTION = 4
"""Tune's AsyncHyperBandScheduler: grace_period 1, reduction_factor 4 (ray 2.60, by default)."""


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


_STATUS: Mapping[Verdict, ObservedStatus] = {
    "go_on": "running",
    "pause": "paused",
    "stop": "stopped",
}


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
        if decided == "go_on":
            up = replace(self._trials.all[number], goal=level + 1)
            self._trials.all[number] = up
        return decided


class PlainAsha:
    """ASHA that promotes whatever is among the best 1 / reduction of its rung (algorithm 2).

    Ours (`Laddered`) keeps each rung to that share besides.
    """

    def __init__(self, propose: Propose, ladder: LadderConfig) -> None:
        self.epochs: tuple[int, ...] = (*ladder.rungs, EPOCHS)
        self._ladder = ladder
        self._trials = _Trials(propose)

    def assign(self) -> Assignment | None:
        """Promotes from the highest rung that may, or starts a new trial."""
        for level in reversed(range(self._ladder.top)):
            there = [t for t in self._trials.all if level in t.values]
            order = scores([t.values[level] for t in there])
            ranked = sorted(zip(order, there, strict=True), key=lambda one: -one[0])
            for _, trial in ranked[: len(there) // self._ladder.reduction]:
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
