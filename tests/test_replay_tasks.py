"""The tasks of the replayed searches, and proposals on arrays, against Optuna and publications."""

import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import (
    _ParzenEstimator,  # pyright: ignore[reportPrivateUsage]
    _ParzenEstimatorParameters,  # pyright: ignore[reportPrivateUsage]
)
from optuna.samplers._tpe.sampler import default_weights

from benchmarks.replay.curves import remaining
from benchmarks.replay.hartmann import MAXIMUM, hartmann
from benchmarks.replay.parzen import Axes, Mixture
from benchmarks.replay.proposals import by_expectation
from benchmarks.replay.recipes import AUGMENTATIONS, TABLE_IX, accuracy
from benchmarks.replay.tables import load_package
from benchmarks.replay.task import EPOCHS, choice, draw_sample, hypervolume, whole
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
