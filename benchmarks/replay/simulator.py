"""A search on simulated time: four places train at once, epochs are what it costs.

A place that becomes free asks the strategy at once. A training goes from level to level of the
strategy's own ladder; a paused one that goes on costs the additional epochs only. After each check
the books hold what the strategy would promote by what it has seen, and its true regret.
"""

import heapq
import math
import random
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.replay.task import EPOCHS, Task, Values, front
from search.space.space import Sample
from search.strategy.ladder import Verdict

PLACES = 4
SPEED_SD = 0.1
"""Of the relative duration of an epoch, from trial to trial, so that finishes do not coincide."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a free place does next."""

    number: int
    sample: Sample
    level: int
    """It trains until there."""


class Strategy(Protocol):
    """Decides what trains, by what it was shown."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """Of each level, rising; the last is the full training."""
        ...

    def assign(self) -> Assignment | None:
        """Returns what a free place does; None to wait for the next check elsewhere."""
        ...

    def show(self, number: int, level: int, values: Values) -> Verdict:
        """Takes what a trial showed at a level that it was to be trained to, and judges it."""
        ...


@dataclass(kw_only=True)
class _Training:
    sample: Sample
    noise: float
    speed: float
    draw: random.Random
    epoch: int = 0
    """Trained so far."""
    shown: Values = ()
    """At the latest check."""


class Books:
    """What was trained and what it showed; the strategy's view of the incumbent, and its regret."""

    def __init__(self, task: Task, seed: int) -> None:
        self.task = task
        self.seed = seed
        self.trainings: dict[int, _Training] = {}
        self.spent = 0
        self._top_level = -1
        self._at_top: list[_Training] = []
        self.points: list[tuple[int, float]] = []
        """(epochs spent, regret), after each check."""

    def training(self, number: int, sample: Sample) -> _Training:
        """Returns a trial, begun now if it is new."""
        if number not in self.trainings:
            draw = random.Random(zlib.crc32(f"{self.seed} {number}".encode()))
            self.trainings[number] = _Training(
                sample=sample,
                noise=draw.gauss(0, self.task.noise_sd * math.sqrt(0.5)),
                speed=max(0.5, draw.gauss(1, SPEED_SD)),
                draw=draw,
            )
        return self.trainings[number]

    def check(self, training: _Training, *, level: int, epoch: int) -> Values:
        """Books the epochs that a training took to `epoch`, and returns what it shows."""
        self.spent += epoch - training.epoch
        first, *others = self.task.mean(training.sample, epoch)
        error = training.noise + training.draw.gauss(0, self.task.noise_sd * math.sqrt(0.5))
        training.epoch = epoch
        training.shown = (first + error, *others)
        if level > self._top_level:
            self._top_level, self._at_top = level, []
        if level == self._top_level:
            self._at_top.append(training)
        self.points.append((self.spent, self.task.regret(self.promoted())))
        return training.shown

    def promoted(self) -> list[Sample]:
        """Returns what the search would promote now: the best of those at the highest level."""
        return [self._at_top[i].sample for i in front([t.shown for t in self._at_top])]


def simulate(task: Task, strategy: Strategy, *, seed: int, budget: int) -> list[tuple[int, float]]:
    """Runs a search for so many full trainings; returns (epochs spent, regret) after each check."""
    books = Books(task, seed)
    finishes: list[tuple[float, int, int, int]] = []  # time, order, number, level
    idle, now, begun, order = PLACES, 0.0, 0, 0

    def begin(number: int, sample: Sample, *, level: int) -> None:
        nonlocal begun, order
        training = books.training(number, sample)
        epochs = strategy.epochs[level] - training.epoch
        begun, order = begun + epochs, order + 1
        heapq.heappush(finishes, (now + epochs * training.speed, order, number, level))

    while True:
        while idle and begun < budget * EPOCHS and (job := strategy.assign()):
            idle -= 1
            begin(job.number, job.sample, level=job.level)
        if not finishes:
            return books.points
        now, _, number, level = heapq.heappop(finishes)
        training = books.trainings[number]
        values = books.check(training, level=level, epoch=strategy.epochs[level])
        verdict = strategy.show(number, level, values)
        is_over = level + 1 == len(strategy.epochs) or begun >= budget * EPOCHS
        if verdict == "go_on" and not is_over:
            begin(number, training.sample, level=level + 1)
        else:
            idle += 1


def at_budgets(points: Sequence[tuple[int, float]], budgets: Sequence[float]) -> list[float]:
    """Returns the regret when so many full trainings were spent; 1 before the first check."""
    spent = [epochs for epochs, _ in points]
    found: list[float] = []
    for budget in budgets:
        index = bisect_right(spent, budget * EPOCHS) - 1
        found.append(points[index][1] if index >= 0 else 1.0)
    return found
