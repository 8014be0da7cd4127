import random
from typing import Any

import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from search.space.axes import AnyAxis, Axis, contains
from search.space.size import SpaceSize, space_size
from search.space.space import corner, ends, leaf_axes, leaves, sections, suggest, witnesses

ADAPTER: TypeAdapter[AnyAxis] = TypeAdapter(Axis)
BRANCHES = {
    "small": {"section": {"kind": "small"}, "space": {"depth": {"int": [1, 2]}}},
    "large": {
        "section": {"kind": "large"},
        "space": {"depth": {"int": [8, 9]}, "heads": {"choice": [3, 6]}},
    },
}
FAMILIES = {"model": ADAPTER.validate_python({"branch": BRANCHES})}
MIXING = {
    "_mix": ADAPTER.validate_python({"choice": ["none", "mixup", "both"]}),
    "mixup": ADAPTER.validate_python(
        {"uniform": [0.1, 1.0], "when": {"_mix": ["mixup", "both"]}, "otherwise": 0.0}
    ),
    "cutmix": ADAPTER.validate_python({"fixed": 1.0, "when": {"_mix": ["both"]}}),
    "share": ADAPTER.validate_python({"int": [1, 4], "when": {"cutmix": [1.0], "_mix": ["both"]}}),
}
"""Axes of axes: `share` exists where `cutmix` does."""
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
        ({"when": {"a": [1]}}, "an axis is one of"),
        ({"choice": [1], "when": {"a": []}}, "at least 1 item"),
        ({"choice": [1], "when": {"a": 1}}, "valid tuple"),
        ({"choice": [1], "otherwise": 2}, r"otherwise \(2\) .* takes a condition: add when"),
        ({"branch": BRANCHES, "when": {"a": [1]}}, "exists in every sample and takes no when"),
        ({"branch": BRANCHES, "otherwise": 1}, "takes no otherwise, got 1; put it on the axes"),
    ],
)
def test_an_axis_that_makes_no_sense_is_refused(axis: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ADAPTER.validate_python(axis)


def test_an_axis_survives_its_own_dump() -> None:
    for axis in (*SPACE.values(), *MIXING.values(), *FAMILIES.values()):
        assert ADAPTER.validate_python(axis.model_dump(mode="json")) == axis


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("steps", 3, True),
        ("steps", 4, False),
        ("steps", 2.5, False),
        ("steps", float("nan"), False),
        ("ramp", True, False),
        ("depths", [2, 1], True),
        ("cutmix", 1.0, True),
        ("cutmix", 0.5, False),
    ],
)
def test_contains_knows_the_ends(path: str, value: Any, expected: bool) -> None:
    assert contains((SPACE | MIXING)[path], value) is expected


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


def test_a_conditional_axis_exists_only_where_its_condition_holds() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(60)]
    samples = [suggest(trial, MIXING) for trial in trials]

    assert {(sample["_mix"], *sample) for sample in samples} == {
        ("none", "_mix"),
        ("mixup", "_mix", "mixup"),
        ("both", "_mix", "mixup", "cutmix", "share"),
    }
    assert all(
        trial.params.keys() == sample.keys() for trial, sample in zip(trials, samples, strict=True)
    )


@pytest.mark.parametrize(
    ("sample", "fields"),
    [
        ({"_mix": "none"}, {"mixup": 0.0}),
        ({"_mix": "mixup", "mixup": 0.3}, {"mixup": 0.3}),
        ({"_mix": "both", "mixup": 0.3, "cutmix": 1.0}, {"mixup": 0.3, "cutmix": 1.0}),
        ({}, {}),
        ({"_mix": "mixup"}, {}),
    ],
)
def test_a_field_without_its_axis_has_what_the_axis_says_otherwise(
    sample: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert leaves(MIXING, sample) == fields


def test_an_axis_is_ruled_out_by_one_that_is_ruled_out_itself() -> None:
    share = {"int": [1, 4], "when": {"cutmix": [1.0]}, "otherwise": 1}
    chain = MIXING | {"share": ADAPTER.validate_python(share)}

    assert leaves(chain, {"_mix": "mixup", "mixup": 0.3}) == {"mixup": 0.3, "share": 1}
    assert leaves(chain, {"_mix": "both", "cutmix": 1.0, "share": 3})["share"] == 3


def test_otherwise_stays_within_its_branch() -> None:
    heads = {"choice": [3, 6], "when": {"model[large].depth": [9]}, "otherwise": 2}
    space = branch_space(depth={"int": [8, 9]}, heads=heads)

    assert leaves(space, {"model": "large", "model[large].depth": 8})["model.heads"] == 2
    assert leaves(space, {"model": "small", "model[small].depth": 1}) == {"model.depth": 1}


def test_the_ends_of_a_conditional_axis_bring_what_it_needs_to_exist() -> None:
    found = [sample for sample in ends(MIXING) if list(sample)[-1] == "share"]

    assert found == [{"cutmix": 1.0, "_mix": "both", "share": end} for end in (1, 4)]


def test_conditions_that_exclude_each_other_have_no_witness() -> None:
    never = {"int": [1, 4], "when": {"cutmix": [1.0], "_mix": ["mixup"]}}
    space = MIXING | {"share": ADAPTER.validate_python(never)}
    share = list(leaf_axes(space))[-1]

    assert list(witnesses(space, share)) == []


def test_corners_reach_the_axes_that_hang_on_a_number_between_two_ends() -> None:
    heads = {"choice": [3, 6], "when": {"model[large].depth": [9]}}
    space = branch_space(depth={"int": [8, 10]}, heads=heads)
    draw = random.Random(0)

    corners = {tuple(corner(space, draw).values()) for _ in range(200)}

    large = {("large", 8), ("large", 10), ("large", 9, 3), ("large", 9, 6)}
    assert corners == {("small", 1), ("small", 2)} | large


@pytest.mark.parametrize(
    ("space", "combinations", "real_axes"),
    [
        (SPACE, 2 * 2 * 3, 2),
        (FAMILIES, 2 + 2 * 2, 0),
        (MIXING, 1 + 1 + 4, 1),
        (MIXING | SPACE, (1 + 1 + 4) * 12, 3),
    ],
)
def test_the_size_counts_each_axis_where_it_exists(
    space: dict[str, AnyAxis], combinations: int, real_axes: int
) -> None:
    assert space_size(space) == SpaceSize(combinations=combinations, real_axes=real_axes)


def test_the_size_is_the_number_of_different_samples() -> None:
    heads = {"choice": [3, 6], "when": {"model[large].depth": [2, 7]}}
    space = branch_space(depth={"int": [1, 20]}, heads=heads)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    samples = {tuple(suggest(study.ask(), space).values()) for _ in range(600)}

    assert space_size(space).combinations == len(samples) == 2 + 18 + 2 * 2


def branch_space(**large: Any) -> dict[str, AnyAxis]:
    """Returns `FAMILIES` with other axes of the large model."""
    branches = {**BRANCHES, "large": {"section": {"kind": "large"}, "space": large}}
    return {"model": ADAPTER.validate_python({"branch": branches})}


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
