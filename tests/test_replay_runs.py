"""The replayed searches: the simulator, its climbers, and what is said of their runs."""

import math
import random
import statistics
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.replay.climbers import RAY_REDUCTION, Laddered, PlainAsha, RayDefault
from benchmarks.replay.proposals import by_chance
from benchmarks.replay.regret import against_chance, mean_ranks, medians, ratios
from benchmarks.replay.runs import BUDGETS, Results, run_block
from benchmarks.replay.simulator import Assignment, at_budgets, simulate
from benchmarks.replay.strategies import STRATEGIES, ladder
from benchmarks.replay.task import EPOCHS, Task, Values, draw_sample
from benchmarks.replay.tasks import find_task
from search.space.space import Sample, UniformAxis
from search.strategy.ladder import Verdict


def _line(sample: Sample, epoch: int) -> Values:
    return (sample["x"] - (EPOCHS - epoch) * 0.01,)


LINE = Task(
    name="line",
    space={"x": UniformAxis.model_validate({"uniform": [0, 1]})},
    mean=_line,
    noise_sd=0.0,
    reference=(),
    best=1.0,
    typical=0.5,
)
"""Without noise, and ranked by the first epoch as by the last."""


class Recorder:
    """Trains everything to the end, in three steps, and writes down what it was asked."""

    epochs = (3, 9, EPOCHS)

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.most = 0
        self.begun = 0

    def assign(self) -> Assignment:
        self.running.add(self.begun)
        self.begun += 1
        self.most = max(self.most, len(self.running))
        number = self.begun - 1
        return Assignment(number=number, sample={"x": number / 100}, level=0)

    def show(self, number: int, level: int, values: Values) -> Verdict:
        if level == 2:
            self.running.remove(number)
        return "go_on"


def test_four_places_train_and_every_epoch_is_paid_for_once() -> None:
    strategy = Recorder()

    points = simulate(LINE, strategy, seed=0, budget=10)

    assert strategy.most == 4
    steps = [after - before for (before, _), (after, _) in pairwise([(0, 0.0), *points])]
    assert steps.count(3) >= steps.count(6) >= steps.count(18)
    assert set(steps) == {3, 6, 18}
    assert 10 * EPOCHS <= points[-1][0] < 11 * EPOCHS


def test_without_noise_regret_is_that_of_the_best_trial_and_never_rises() -> None:
    points = simulate(LINE, STRATEGIES["random"](LINE, 3), seed=3, budget=20)

    regrets = [regret for _, regret in points]
    draw = random.Random(3)
    best = max(draw_sample(LINE.space, draw)["x"] for _ in range(20))
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] == pytest.approx((1 - best) / 0.5)


def test_where_early_ranks_are_right_halving_beats_random_search_at_the_same_cost() -> None:
    def regret(name: str, seed: int) -> float:
        points = simulate(LINE, STRATEGIES[name](LINE, seed), seed=seed, budget=10)
        return at_budgets(points, [10])[0]

    plain = statistics.fmean(regret("random", seed) for seed in range(20))
    halved = statistics.fmean(regret("asha-promote", seed) for seed in range(20))

    assert halved < 0.6 * plain


@pytest.mark.parametrize(("climber", "keeps"), [(Laddered, True), (PlainAsha, False)])
def test_only_our_ladder_promotes_no_more_than_its_share(
    climber: type[Laddered] | type[PlainAsha], keeps: bool
) -> None:
    rising = iter(range(10_000))  # as from a sampler that learns: each trial is the best so far
    strategy = climber(lambda trials, number: {"x": next(rising) / 10_000}, ladder())
    reached = {0: 0, 1: 0, 2: 0}

    class Counted:
        epochs = strategy.epochs

        def assign(self) -> Assignment | None:
            return strategy.assign()

        def show(self, number: int, level: int, values: Values) -> Verdict:
            reached[level] += 1
            return strategy.show(number, level, values)

    simulate(LINE, Counted(), seed=0, budget=30)

    assert (reached[0] >= 3 * reached[1] >= 9 * reached[2] > 0) == keeps


@pytest.mark.slow
def test_rays_rule_is_that_of_ray() -> None:
    from ray.tune.schedulers.async_hyperband import (
        _Bracket,  # pyright: ignore[reportPrivateUsage]
    )

    draw, bracket = random.Random(0), _Bracket(1, EPOCHS, RAY_REDUCTION, 0)
    ours = RayDefault(by_chance(LINE.space, seed=0))
    for number in range(60):
        ours.assign()
        for level, epoch in enumerate(ours.epochs):
            value = draw.random()
            trial: Any = SimpleNamespace(trial_id=str(number))
            theirs = bracket.on_result(trial, epoch, value) if epoch < EPOCHS else "CONTINUE"
            decided = ours.show(number, level, (value,))
            assert (decided == "stop") == (theirs == "STOP")
            if decided == "stop":
                break


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_seed_decides_everything(name: str) -> None:
    task = find_task("recipes")

    first, second = (simulate(task, STRATEGIES[name](task, 1), seed=1, budget=5) for _ in range(2))

    assert first == second
    assert first[-1][0] <= 6 * EPOCHS


def test_regret_at_a_budget_is_that_of_the_latest_check_it_paid_for() -> None:
    points = [(27, 0.5), (54, 0.3), (80, 0.1)]

    found = at_budgets(points, [0.5, 1, 2, 2.9, 100])

    assert found == [1.0, 0.5, 0.3, 0.3, 0.1]


def _results() -> Results:
    """Two tasks, 4 seeds: ours has half the regret of chance on one, and is worse on the other."""
    rows = np.tile(np.array([[0.1], [0.2], [0.3], [0.4]]), (1, len(BUDGETS)))
    return {
        "good": {"random": 2 * rows, "ours": rows},
        "bad": {"random": rows, "ours": rows + 0.1},
    }


def test_medians_ratios_and_ranks_are_those_of_all_runs() -> None:
    results = _results()

    found = medians(results, budget=30)

    assert found["random"].value == pytest.approx(0.35)
    assert found["ours"].value == pytest.approx(0.3)
    assert found["ours"].low <= 0.3 <= found["ours"].high
    assert ratios(results, budget=30, of="ours")["random"].value == pytest.approx(0.3 / 0.35)
    assert mean_ranks(results, budget=30)["ours"].value == pytest.approx(1.5)


def test_a_task_where_ours_is_worse_by_more_than_noise_is_found() -> None:
    found = against_chance(_results(), budget=30, of="ours", chance="random")

    assert {each.task: each.is_worse for each in found} == {"good": False, "bad": True}
    assert math.isclose(found[1].difference.value, 0.1)


def test_seeds_that_were_run_are_not_run_again(tmp_path: Path) -> None:
    job = (tmp_path, "recipes", "random", [0, 1], 3)
    run_block(job)
    (path,) = (tmp_path / "runs").iterdir()
    before = path.stat().st_mtime_ns, path.read_text()

    run_block(job)

    assert (path.stat().st_mtime_ns, path.read_text()) == before
    run_block((tmp_path, "recipes", "random", [0, 1], 5))
    assert path.read_text() != before[1]
