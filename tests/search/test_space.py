import random
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from search.space import (
    AnyAxis,
    Axis,
    contains,
    corner,
    ends,
    leaves,
    sections,
    suggest,
)

ADAPTER: TypeAdapter[AnyAxis] = TypeAdapter(Axis)
BRANCHES = {
    "small": {"section": {"kind": "small"}, "space": {"depth": {"int": [1, 2]}}},
    "large": {
        "section": {"kind": "large"},
        "space": {"depth": {"int": [8, 9]}, "heads": {"choice": [3, 6]}},
    },
}
FAMILIES = {"model": ADAPTER.validate_python({"branch": BRANCHES})}
SPACE = {
    "depths": ADAPTER.validate_python({"choice": [[1, 1], [2, 1]]}),
    "stem": ADAPTER.validate_python({"choice": ["patch", "conv"]}),
    "steps": ADAPTER.validate_python({"int": [1, 3]}),
    "ramp": ADAPTER.validate_python({"uniform": [0.0, 0.5]}),
    "lr": ADAPTER.validate_python({"log_uniform": [1e-4, 1e-2]}),
}


def test_samples_lie_in_the_space_and_reach_all_of_it() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    samples = [suggest(study.ask(), SPACE) for _ in range(300)]

    for path, axis in SPACE.items():
        assert all(contains(axis, sample[path]) for sample in samples)
    assert {sample["steps"] for sample in samples} == {1, 2, 3}
    assert {tuple(sample["depths"]) for sample in samples} == {(1, 1), (2, 1)}
    low_decade = sum(sample["lr"] < 1e-3 for sample in samples) / len(samples)
    assert 0.4 < low_decade < 0.6  # log-uniform: half of two decades


def test_a_trial_that_was_asked_before_answers_the_same() -> None:
    study = optuna.create_study()
    trial = study.ask()
    first = suggest(trial, SPACE)

    again = suggest(optuna.trial.Trial(study, trial._trial_id), SPACE)  # pyright: ignore[reportPrivateUsage]

    assert again == first


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"int": [3, 1]}, "low must be less than high"),
        ({"uniform": [0.5, 0.5]}, "low must be less than high"),
        ({"log_uniform": [0.0, 1.0]}, "above 0"),
        ({"choice": []}, "at least 1 item"),
        ({"integer": [1, 2]}, "an axis is one of"),
        ({"int": [1, 2], "choice": [1]}, "an axis is one of"),
        ([1, 2], "an axis is one of"),
        ({"branch": {}}, "at least 1 item"),
        ({"branch": {"a": {"section": {}}}}, "Field required"),
        ({"branch": {"a": {"section": {}, "space": {"b": {"branch": BRANCHES}}}}}, "an axis is"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused(axis: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(axis)


def test_an_axis_survives_its_own_dump() -> None:
    for axis in SPACE.values():
        assert ADAPTER.validate_python(axis.model_dump(mode="json")) == axis


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [("steps", 3, True), ("steps", 4, False), ("ramp", True, False), ("depths", [2, 1], True)],
)
def test_contains_knows_the_ends(path: str, value: Any, expected: bool) -> None:
    assert contains(SPACE[path], value) is expected


def test_a_sample_has_the_axes_of_its_branch_and_of_no_other() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    samples = [suggest(study.ask(), FAMILIES) for _ in range(50)]

    keys = {sample["model"]: set(sample) for sample in samples}
    assert keys == {
        "small": {"model", "model[small].depth"},
        "large": {"model", "model[large].depth", "model[large].heads"},
    }
    assert all(set(sample) == keys[sample["model"]] for sample in samples)


def test_a_sample_sets_its_section_and_then_what_changes_in_it() -> None:
    sample = {"model": "large", "model[large].depth": 9, "model[large].heads": 3}

    assert sections(FAMILIES, sample) == {"model": {"kind": "large"}}
    assert leaves(FAMILIES, sample) == {"model.depth": 9, "model.heads": 3}


def test_the_ends_of_a_branch_are_those_of_its_axes_and_say_where_they_are() -> None:
    assert list(ends(FAMILIES)) == [
        {"model": "small"},
        {"model": "large"},
        {"model": "small", "model[small].depth": 1},
        {"model": "small", "model[small].depth": 2},
        {"model": "large", "model[large].depth": 8},
        {"model": "large", "model[large].depth": 9},
        {"model": "large", "model[large].heads": 3},
        {"model": "large", "model[large].heads": 6},
    ]


def test_corners_reach_every_combination_of_ends_of_every_branch() -> None:
    draw = random.Random(0)
    corners = {tuple(corner(FAMILIES, draw).items()) for _ in range(100)}

    assert len(corners) == 2 + 2 * 2


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_learns_which_branch_is_better() -> None:
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(
            seed=0, multivariate=True, group=True, n_startup_trials=10
        ),
    )
    for _ in range(60):
        trial = study.ask()
        sample = suggest(trial, FAMILIES)
        study.tell(trial, leaves(FAMILIES, sample)["model.depth"])

    late = [trial.params["model"] for trial in study.trials[30:]]
    assert late.count("large") > 20
