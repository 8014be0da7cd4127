import math
import random
import statistics
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import (
    _ParzenEstimator,  # pyright: ignore[reportPrivateUsage]
    _ParzenEstimatorParameters,  # pyright: ignore[reportPrivateUsage]
)
from optuna.samplers._tpe.sampler import default_weights

from benchmarks.replay.climbers import RAY_REDUCTION, Laddered, PlainAsha, RayDefault
from benchmarks.replay.curves import remaining
from benchmarks.replay.hartmann import MAXIMUM, hartmann
from benchmarks.replay.parzen import Axes, Mixture
from benchmarks.replay.proposals import by_chance, by_expectation
from benchmarks.replay.recipes import AUGMENTATIONS, TABLE_IX, accuracy
from benchmarks.replay.regret import against_chance, mean_ranks, medians, ratios
from benchmarks.replay.runs import BUDGETS, Results, run_block
from benchmarks.replay.simulator import Assignment, Verdict, at_budgets, simulate
from benchmarks.replay.strategies import STRATEGIES, ladder
from benchmarks.replay.tables import load_package
from benchmarks.replay.task import EPOCHS, Task, Values, choice, draw_sample, hypervolume, whole
from benchmarks.replay.tasks import DEVELOPMENT, TEST, find_task
from search.space.space import LogUniformAxis, Sample, Space, UniformAxis
from search.strategy.observed import Observed
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import propose

SPACE: Space = {
    "c": choice("a", "b", "z"),
    "i": whole(0, 9),
    "f": UniformAxis.model_validate({"uniform": [0, 2]}),
    "l": LogUniformAxis.model_validate({"log_uniform": [1e-3, 1]}),
}
OPTUNA = {
    "c": CategoricalDistribution(["a", "b", "z"]),
    "i": IntDistribution(0, 9),
    "f": FloatDistribution(0, 2),
    "l": FloatDistribution(1e-3, 1, log=True),
}


def internal(samples: Sequence[Sample]) -> dict[str, Any]:
    return {
        name: np.array([each.to_internal_repr(sample[name]) for sample in samples])
        for name, each in OPTUNA.items()
    }


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_the_densities_are_those_of_optuna(count: int) -> None:
    draw, axes = random.Random(count), Axes(SPACE)
    seen = [draw_sample(SPACE, draw) for _ in range(count)]
    asked = [draw_sample(SPACE, draw) for _ in range(50)]
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)

    found = Mixture(np.array([axes.encode(s) for s in seen]), axes).log_density(
        np.array([axes.encode(s) for s in asked])
    )

    expected = _ParzenEstimator(internal(seen), dict(OPTUNA), parameters).log_pdf(internal(asked))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_rows_become_the_samples_they_came_from() -> None:
    axes, draw = Axes(SPACE), random.Random(0)

    for _ in range(20):
        sample = draw_sample(SPACE, draw)
        decoded = axes.decode(np.array(axes.encode(sample)))
        assert decoded == pytest.approx(sample)


def test_draws_follow_the_density_of_a_mixture() -> None:
    axes, draw = Axes({"i": whole(0, 4)}), random.Random(0)
    mixture = Mixture(np.array([[1.0], [1.0], [3.0]]), axes)
    values = np.arange(5.0)[:, None]

    drawn = mixture.draw(20_000, np.random.default_rng(draw.getrandbits(32)))

    shares = np.bincount(drawn[:, 0].astype(int), minlength=5) / len(drawn)
    np.testing.assert_allclose(shares, np.exp(mixture.log_density(values)), atol=0.015)


def test_proposals_on_arrays_are_those_of_our_search() -> None:
    """In distribution: the two draw their random numbers differently."""
    uniform = UniformAxis.model_validate({"uniform": [0, 2]})  # so that nothing comes twice
    space: Space = {"c": choice("a", "b", "z"), "i": whole(0, 9), "f": uniform}
    draw = random.Random(0)
    samples = [draw_sample(space, draw) for _ in range(40)]
    trials = [
        Observed(
            number=n,
            status="running" if n > 36 else "stopped",
            params=sample,
            values={} if n > 36 else {0: (-((sample["i"] - 6) ** 2) - (sample["c"] != "b"),)},
            goal=0,
        )
        for n, sample in enumerate(samples)
    ]
    rule = by_expectation(
        space, seed=0, startup=10, random_share=0.1, pairs=6, candidates=96, distinct=True
    )

    ours = [propose(trials, space, TpeConfig(name="tpe", seed=s), number=40) for s in range(30)]
    arrays = [rule(trials, 40) for _ in range(1000)]

    assert statistics.fmean(s["i"] for s in ours) == pytest.approx(
        statistics.fmean(s["i"] for s in arrays), abs=0.8
    )
    assert statistics.fmean(s["c"] == "b" for s in ours) == pytest.approx(
        statistics.fmean(s["c"] == "b" for s in arrays), abs=0.27
    )


def test_curves_end_at_the_truth_and_only_rise() -> None:
    shares = [remaining(epoch) for epoch in range(1, EPOCHS + 1)]

    assert shares[0] == 1
    assert shares[-1] == 0
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    "x",
    [(0.114614, 0.555649, 0.852547), (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)],
)
def test_hartmann_has_its_published_maximum(x: tuple[float, ...]) -> None:
    found = hartmann(list(x), fidelity=1.0)

    assert found == pytest.approx(MAXIMUM[len(x)], abs=1e-4)


def test_recipes_are_the_published_rows_where_those_were_measured() -> None:
    for flags, value in TABLE_IX.items():
        switches = dict(zip(AUGMENTATIONS, flags, strict=True))
        at = {**switches, "weight_decay": 0.05, "eps_warmup": 20}
        assert accuracy(at) == pytest.approx(value)

    plain = dict.fromkeys(AUGMENTATIONS, 0)
    heavy = dict.fromkeys(AUGMENTATIONS, 1)
    gained = accuracy({**plain, "weight_decay": 0.5, "eps_warmup": 20})
    lost = accuracy({**heavy, "weight_decay": 0.05, "eps_warmup": 0})
    assert gained == pytest.approx(39.22 + 42.02 - 39.30)
    assert lost == pytest.approx(35.38 + 30.48 - 34.88)


@pytest.mark.parametrize("name", ["recipes", "recipes-cost", "hartmann6", "hpobench-car"])
def test_nothing_is_better_than_the_best(name: str) -> None:
    task, draw = find_task(name), random.Random(0)

    regrets = [task.regret([draw_sample(task.space, draw)]) for _ in range(300)]

    assert min(regrets) >= 0
    assert statistics.median(regrets) == pytest.approx(1, abs=0.3)


def test_a_table_says_what_its_package_says() -> None:
    task = find_task("nasbench201-cifar10")
    package = load_package("nasbench201", "cifar10")
    sample = draw_sample(task.space, random.Random(0))

    said = {package(sample)["val_acc"] for _ in range(50)}

    (truth,) = task.mean(sample, EPOCHS)
    assert len(said) == 3
    assert truth == pytest.approx(statistics.fmean(said))


def test_places_in_lists_name_the_row_of_their_values() -> None:
    task, draw = find_task("hpobench-car"), random.Random(0)
    package = load_package("hpobench", "car")
    sample = draw_sample(task.space, draw)

    params = {name: package.search_space[name][place] for name, place in sample.items()}
    said = statistics.fmean(package(params)["val_acc"] for _ in range(400))

    assert task.mean(sample, EPOCHS)[0] == pytest.approx(said, abs=0.003)


def test_no_task_is_both_for_choosing_and_for_reporting() -> None:
    assert not set(DEVELOPMENT) & set(TEST)


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match=r"a task is one of .*, got 'cifar'"):
        find_task("cifar")


def test_hypervolume_is_the_share_of_random_points_that_are_dominated() -> None:
    draw = random.Random(0)
    points = [(draw.random(), draw.random()) for _ in range(8)]
    probes = [(draw.random(), draw.random()) for _ in range(20_000)]

    found = hypervolume([*points, (-1.0, 2.0)], (0.0, 0.0))

    dominated = [any(p[0] >= q[0] and p[1] >= q[1] for p in points) for q in probes]
    assert found == pytest.approx(statistics.fmean(dominated), abs=0.015)


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
