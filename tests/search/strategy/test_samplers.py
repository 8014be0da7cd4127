"""Optuna's samplers by name: what fits together, and that a resumed search goes on as it would."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState
from pydantic import TypeAdapter, ValidationError
from scipy.stats import qmc

from search.space.axes import Axis
from search.space.space import Sample, Space, suggest
from search.strategy.optuna_samplers import (
    MOST_GRID_POINTS,
    build_sampler,
    check_sampler,
    grid_size,
    is_exhausted,
)
from search.strategy.sampler_config import AnySampler, GridConfig

BRANCH = {"branch": {"a": {"section": {}, "space": {"depth": {"int": [1, 2]}}}}}
OPTIONS: dict[str, dict[str, Any]] = {
    "tpe": {"startup_trials": 3},
    "gp": {"startup_trials": 3},
    "random": {},
    "qmc": {},
    "grid": {"points": 4},
    "nsga2": {"population_size": 3},
    "nsga3": {"population_size": 3},
    "cmaes": {"population_size": 4},
}


def sampler(name: str, **options: Any) -> AnySampler:
    return TypeAdapter[Any](AnySampler).validate_python({"seed": 0, **options, "name": name})


def space(**axes: Any) -> Space:
    return TypeAdapter(dict[str, Axis]).validate_python(axes)


def plane() -> Space:
    return space(x={"uniform": [-1.0, 1.0]}, y={"log_uniform": [0.01, 1.0]})


def sphere(sample: Sample) -> list[float]:
    """Greatest at x = 0.3, y = 0.1."""
    return [-((sample["x"] - 0.3) ** 2) - (np.log10(sample["y"]) + 1) ** 2]


def two_ends(sample: Sample) -> list[float]:
    """Two objectives: every x between 0 and 1 is Pareto-optimal at y = 0.01."""
    return [-(sample["x"] ** 2) - sample["y"], -((sample["x"] - 1) ** 2) - sample["y"]]


def new_study(config: AnySampler, axes: Space, *, objectives: int) -> optuna.Study:
    return optuna.create_study(
        directions=[StudyDirection.MAXIMIZE] * objectives, sampler=build_sampler(config, space=axes)
    )


def go_on(
    study: optuna.Study, axes: Space, trials: int, score: Callable[[Sample], list[float]]
) -> list[Sample]:
    samples: list[Sample] = []
    for _ in range(trials):
        trial = study.ask()
        samples.append(suggest(trial, axes))
        study.tell(trial, score(samples[-1]))
    return samples


@pytest.mark.parametrize("name", OPTIONS)
def test_a_search_that_is_resumed_at_every_trial_proposes_what_an_undisturbed_one_does(
    name: str,
) -> None:
    objectives, score = (2, two_ends) if name == "nsga3" else (1, sphere)
    config, axes = sampler(name, **OPTIONS[name]), plane()
    trials = 5 if name == "gp" else 12
    undisturbed = go_on(new_study(config, axes, objectives=objectives), axes, trials, score)

    study = new_study(config, axes, objectives=objectives)
    resumed: list[Sample] = []
    for _ in range(trials):
        study.sampler = build_sampler(config, space=axes)
        resumed += go_on(study, axes, 1, score)

    assert resumed == undisturbed


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("nsga3", "grid")])
def test_seeds_that_follow_each_other_share_no_trial(name: str) -> None:
    axes = plane()
    runs = [
        go_on(
            new_study(sampler(name, **OPTIONS[name] | {"seed": seed}), axes, objectives=1),
            axes,
            3,
            sphere,
        )
        for seed in (0, 1)
    ]

    xs = [{sample["x"] for sample in run} for run in runs]
    assert len(xs[0]) == len(xs[1]) == 3
    assert not xs[0] & xs[1]


def test_looking_at_another_trial_changes_no_proposal() -> None:
    config, axes = sampler("random"), plane()
    undisturbed = go_on(new_study(config, axes, objectives=1), axes, 3, sphere)
    study = new_study(config, axes, objectives=1)
    first = go_on(study, axes, 2, sphere)

    trial = study.ask()
    optuna.trial.Trial(study, study.trials[0]._trial_id)  # pyright: ignore[reportPrivateUsage]

    assert [*first, suggest(trial, axes)] == undisturbed


LEARNERS: list[tuple[str, dict[str, Any], int, int]] = [
    ("gp", {"startup_trials": 4}, 8, 1),
    ("cmaes", {}, 40, 3),
    ("nsga2", {"population_size": 10}, 60, 3),
]


@pytest.mark.parametrize(("name", "options", "trials", "seeds"), LEARNERS)
def test_samplers_that_learn_come_closer_to_the_optimum_than_chance(
    name: str, options: dict[str, Any], trials: int, seeds: int
) -> None:
    def median_best(kind: str, options: Mapping[str, Any]) -> float:
        best: list[float] = []
        for seed in range(seeds):
            config = sampler(kind, **options, seed=seed)
            study = new_study(config, plane(), objectives=1)
            go_on(study, plane(), trials, sphere)
            best.append(study.best_value)
        return float(np.median(best))

    assert median_best(name, options) > median_best("random", {})


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "cmaes"])
def test_several_objectives_and_a_constraint_are_taken(name: str) -> None:
    config, axes = sampler(name, **OPTIONS[name]), plane()
    check_sampler(config, space=axes, objectives=2)
    study = new_study(config, axes, objectives=2)

    for _ in range(5):
        trial = study.ask()
        sample = suggest(trial, axes)
        trial.set_constraint("params_m", sample["x"])
        study.tell(trial, two_ends(sample))

    assert all(trial.params["x"] <= 0 for trial in study.best_trials)


CROSSOVERS = ["uniform", "blxalpha", "sbx", "spx", "undx", "vsbx"]


@pytest.mark.parametrize("crossover", CROSSOVERS)
def test_every_crossover_breeds_a_second_generation_within_the_space(crossover: str) -> None:
    config = sampler("nsga2", population_size=4, crossover=crossover, mutation_prob=0.0)
    axes = plane()

    samples = go_on(new_study(config, axes, objectives=1), axes, 10, sphere)

    assert all(-1 <= sample["x"] <= 1 and 0.01 <= sample["y"] <= 1 for sample in samples)
    if crossover == "uniform":  # children have what their parents had
        parents = {sample["x"] for sample in samples[:4]}
        assert {sample["x"] for sample in samples[4:8]} <= parents


@pytest.mark.parametrize("kind", ["full", "separable", "margin", "adaptive"])
def test_every_kind_of_cma_es_keeps_whole_numbers_whole(kind: str) -> None:
    axes = space(x={"uniform": [-1.0, 1.0]}, n={"int": [1, 9]})
    config = sampler("cmaes", kind=kind)
    check_sampler(config, space=axes, objectives=1)

    samples = go_on(
        new_study(config, axes, objectives=1), axes, 10, lambda s: [-abs(s["x"]) - abs(s["n"] - 5)]
    )

    assert all(isinstance(sample["n"], int) and 1 <= sample["n"] <= 9 for sample in samples)


@pytest.mark.parametrize("kind", ["sobol", "halton"])
def test_a_sequence_without_scrambling_is_scipys(kind: str) -> None:
    config, axes = sampler("qmc", kind=kind, scramble=False), plane()
    engine = qmc.Sobol(2, scramble=False) if kind == "sobol" else qmc.Halton(2, scramble=False)
    expected = engine.random(8)

    # The first trial, which shows Optuna what the axes are, is random.
    samples = go_on(new_study(config, axes, objectives=1), axes, 9, sphere)[1:]

    assert [s["x"] for s in samples] == pytest.approx((2 * expected[:, 0] - 1).tolist())
    logs = [np.log10(s["y"]) / 2 + 1 for s in samples]
    assert logs == pytest.approx(expected[:, 1].tolist())


def test_a_grid_visits_every_point_once_beside_the_warm_starts() -> None:
    axes = space(
        x={"uniform": [-1.0, 1.0]},
        y={"log_uniform": [0.01, 1.0]},
        n={"int": [1, 2]},
        depths={"choice": [[1, 1], [2, 2]]},
        fixed={"fixed": 5},
    )
    config = sampler("grid", points=3)
    assert isinstance(config, GridConfig)
    study = new_study(config, axes, objectives=1)
    study.enqueue_trial({"x": 0.5, "y": 0.5, "n": 1, "depths": "[1, 1]", "fixed": 5})

    first, *samples = go_on(study, axes, 36, sphere)
    assert not is_exhausted(study)
    samples += go_on(study, axes, 1, sphere)

    assert is_exhausted(study)
    assert first["x"] == 0.5
    assert grid_size(config, axes) == 36
    points = {(s["x"], round(s["y"], 9), s["n"], tuple(s["depths"])) for s in samples}
    assert points == {
        (x, y, n, depths)
        for x in (-1.0, 0.0, 1.0)
        for y in (0.01, 0.1, 1.0)
        for n in (1, 2)
        for depths in ((1, 1), (2, 2))
    }


def test_a_pruned_point_of_a_grid_is_not_asked_for_again() -> None:
    axes = space(n={"int": [1, 3]})
    study = new_study(sampler("grid"), axes, objectives=1)

    samples: list[Sample] = []
    for _ in range(3):
        trial = study.ask()
        samples.append(suggest(trial, axes))
        study.tell(trial, state=TrialState.PRUNED)

    assert sorted(sample["n"] for sample in samples) == [1, 2, 3]
    assert is_exhausted(study)


def test_only_a_grid_ends() -> None:
    study = new_study(sampler("random"), plane(), objectives=1)
    go_on(study, plane(), 3, sphere)

    assert not is_exhausted(study)


WIDE = {f"x{i}": {"uniform": [0.0, 1.0]} for i in range(10)}
WHEN = {"a": {"choice": [1, 2]}, "b": {"int": [1, 2], "when": {"a": [1]}}}
MISTAKES: list[tuple[str, Mapping[str, Any], Mapping[str, Any], int, str]] = [
    ("gp", {}, {"model": BRANCH}, 1, "sampler.name=gp needs the same axes.*space.model is a branc"),
    ("qmc", {}, WHEN, 1, "sampler.name=qmc needs the same.*space.b has a condition; take tpe or r"),
    ("nsga2", {}, WHEN, 1, "sampler.name=nsga2 needs the same axes in every trial"),
    ("grid", {}, {"model": BRANCH}, 1, "sampler.name=grid needs the same axes in every trial"),
    ("grid", {}, WIDE, 1, f"has 59049 points, at most {MOST_GRID_POINTS}.*lower sampler.points"),
    ("nsga3", {}, {"n": {"int": [1, 2]}}, 1, "spreads trials over several objectives, got one"),
    ("cmaes", {}, {"n": {"int": [1, 2]}}, 2, "sampler.name=cmaes knows one objective, got 2"),
    ("cmaes", {}, {"n": {"choice": [1, 2]}}, 1, "space.n is a choice; take tpe, gp or nsga2"),
    ("cmaes", {"kind": "separable"}, {"n": {"int": [1, 2]}}, 1, "needs two axes or more, got one"),
]


@pytest.mark.parametrize(("name", "options", "axes", "objectives", "message"), MISTAKES)
def test_a_sampler_that_cannot_search_the_space_is_refused(
    name: str, options: Mapping[str, Any], axes: Mapping[str, Any], objectives: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_sampler(sampler(name, **options), space=space(**axes), objectives=objectives)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_branches_and_conditions_are_for_tpe_and_random(name: str) -> None:
    check_sampler(sampler(name), space=space(model=BRANCH, **WHEN), objectives=3)


def test_three_parents_need_a_population_of_three() -> None:
    with pytest.raises(ValidationError, match="crossover=spx needs three parents, got populatio"):
        sampler("nsga2", population_size=2, crossover="spx")


def test_cma_es_needs_a_population_with_two_parents() -> None:
    with pytest.raises(ValidationError, match=r"population_size must be 4 or more, or 0.*got 3"):
        sampler("cmaes", population_size=3)


def test_an_option_of_another_sampler_is_refused() -> None:
    with pytest.raises(ValidationError, match="startup_trials"):
        sampler("random", startup_trials=3)
