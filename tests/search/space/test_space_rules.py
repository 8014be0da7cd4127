"""What a space is refused for, and with which words."""

from typing import Any

import pytest
from base_trial import base_trial
from pydantic import TypeAdapter
from repository import DEMO

from search.load import load_experiment
from search.space.axes import Axis
from search.space.rules import check_conditions, check_space
from search.space.space import Space
from trainers.config import TrialConfig

ADAPTER: TypeAdapter[dict[str, Axis]] = TypeAdapter(dict[str, Axis])
MIX = {"_mix": {"choice": ["off", "on"]}}
ALPHA = {"uniform": [0.1, 1.0], "when": {"_mix": ["on"]}}


def space(axes: dict[str, Any]) -> Space:
    return ADAPTER.validate_python(axes)


def check(axes: dict[str, Any], **changes: Any) -> None:
    base = TrialConfig.model_validate(base_trial(**changes))
    check_space(base, space(axes), full_run={}, check=lambda trial: None)


def families(**axes: Any) -> dict[str, Any]:
    section = base_trial()["model"]
    branches = {"plain": {"section": section, "space": {}}, "other": {"section": section}}
    branches["other"]["space"] = axes
    return {"model": {"branch": branches}}


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (
            MIX | {"augment.mixup": {**ALPHA, "when": {"_mxi": ["on"]}}},
            r"space\.augment\.mixup\.when names '_mxi', which is no axis .* did you mean '_mix'",
        ),
        (
            {"augment.mixup": ALPHA} | MIX,
            r"space\.augment\.mixup\.when names '_mix', which is not listed before it",
        ),
        (
            {"_mix": {"choice": [1, 2], "when": {"_mix": [1]}}},
            r"space\._mix\.when names '_mix', which is not listed before it",
        ),
        (
            {
                "optim.lr": {"uniform": [0.1, 0.2]},
                "augment.mixup": {"fixed": 0.5, "when": {"optim.lr": [0.1]}},
            },
            r"space\.augment\.mixup\.when names 'optim\.lr', an axis of real numbers",
        ),
        (
            MIX | {"augment.mixup": {**ALPHA, "when": {"_mix": ["yes"]}}},
            r"space\.augment\.mixup\.when: _mix is never 'yes', but one of \['off', 'on'\]",
        ),
        (
            {"attack.steps": {"int": [1, 3]}}
            | {"augment.mixup": {"fixed": 0.5, "when": {"attack.steps": [4]}}},
            r"attack\.steps is never 4, but one of 1 to 3",
        ),
        (
            families() | {"augment.mixup": {"fixed": 0.5, "when": {"model": ["vit"]}}},
            r"model is never 'vit', but one of \['plain', 'other'\]",
        ),
        (
            MIX
            | {"attack.steps": {"fixed": 2, "when": {"_mix": ["off"]}}}
            | {"augment.mixup": {**ALPHA, "when": {"_mix": ["on"], "attack.steps": [2]}}},
            r"space\.augment\.mixup never exists: its conditions exclude each other",
        ),
        (
            families(act={"choice": ["relu", "gelu"]})
            | {"augment.mixup": {"fixed": 0.5, "when": {"model[other].act": ["relu"]}}}
            | {
                "label_smoothing": {
                    "fixed": 0.1,
                    "when": {"augment.mixup": [0.5], "model": ["plain"]},
                }
            },
            r"space\.label_smoothing never exists",
        ),
        (MIX, r"space\._mix changes nothing: .* no axis names it in its when"),
        (
            MIX
            | {"_more": {"fixed": 1, "when": {"_mix": ["on"]}, "otherwise": 2}}
            | {"augment.mixup": {"fixed": 0.5, "when": {"_more": [1]}}},
            r"space\._more: .* has no value where it does not exist, got otherwise 2; leave it out",
        ),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(axes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_conditions(space(axes))


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (
            MIX
            | {"augment.mixup": {**ALPHA, "uniform": [0.1, 3.0]}, "batch_size": {"choice": [8, 9]}},
            r"the combination .* must be even",
        ),
        (
            MIX | {"label_smoothing": {**ALPHA, "uniform": [0.1, 1.5]}},
            r"space\.label_smoothing: the value 1\.5 is invalid: label_smoothing",
        ),
        (
            MIX | {"label_smoothing": {**ALPHA, "uniform": [0.1, 0.2], "otherwise": 2.0}},
            r"space\.label_smoothing: the value 2\.0 of otherwise is invalid: label_smoothing",
        ),
        (
            {"label_smoothing": {"fixed": 3}},
            r"space\.label_smoothing: the value 3 is invalid",
        ),
        (MIX | {"augment._mixup": ALPHA}, r"space\.augment\._mixup changes nothing"),
        (
            MIX | {"augment.mixpu": ALPHA},
            r"space\.augment\.mixpu: the value 0\.1 cannot be set: .* did you mean 'augment\.m",
        ),
        (MIX | {"epochs": {"fixed": 3, "when": {"_mix": ["on"]}}}, "space must not change epochs"),
        (
            {"attack.name": {"choice": ["apgd", "pgd"]}}
            | {"attack.reach": {"uniform": [1.0, 2.0], "when": {"attack.name": ["apgd"]}}},
            r"attack\.reach changes nothing: .* one of \['fgsm', 'pgd'\], and it is 'apgd'",
        ),
    ],
)
def test_an_end_of_a_conditional_axis_is_tried_where_it_exists(
    axes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        check(axes)


@pytest.mark.parametrize(
    "axes",
    [
        MIX | {"augment.mixup": ALPHA},
        MIX | {"augment.mixup": {**ALPHA, "otherwise": 0.0}, "batch_size": {"fixed": 4}},
        {"attack.name": {"choice": ["apgd", "pgd"]}}
        | {"attack.reach": {"uniform": [1.0, 2.0], "when": {"attack.name": ["pgd"]}}},
        MIX
        | {"attack.name": {"fixed": "pgd", "when": {"_mix": ["on"]}, "otherwise": "apgd"}}
        | {"attack.reach": {"uniform": [1.0, 2.0]}},
        families(
            act={"choice": ["relu", "gelu"]},
            layer_scale={"log_uniform": [1e-6, 1.0], "when": {"model[other].act": ["relu"]}},
        )
        | {"augment.mixup": {"fixed": 0.5, "when": {"model": ["plain"]}}},
    ],
)
def test_a_space_with_conditions_that_make_sense_is_taken(axes: dict[str, Any]) -> None:
    check(axes)


def test_a_section_that_is_chosen_whole_brings_no_pinned_field_along() -> None:
    section = {**base_trial()["data"], "select_images": 24}

    with pytest.raises(ValueError, match=r"space\.data: .* changes data\.select_images, which is"):
        check({"data": {"fixed": section}})


def test_what_the_search_cannot_run_is_told_with_the_end_that_brought_it() -> None:
    base = TrialConfig.model_validate(base_trial())

    def refuse_pgd(trial: TrialConfig) -> None:
        if trial.attack.name == "pgd":
            raise ValueError("no pgd today")

    axes = space({"attack.name": {"choice": ["apgd", "pgd"]}})
    with pytest.raises(
        ValueError, match=r"space\.attack\.name: the value 'pgd' is invalid: no pgd"
    ):
        check_space(base, axes, full_run={}, check=refuse_pgd)
    with pytest.raises(ValueError, match=r"promotion\.overrides: with the sample .* no pgd today"):
        check_space(
            base,
            space({"attack.steps": {"int": [1, 2]}}),
            full_run={"attack.name": "pgd"},
            check=refuse_pgd,
        )


def test_the_space_of_the_demo_is_taken() -> None:
    demo = load_experiment(DEMO, {})

    check_space(demo.base, demo.space, full_run=demo.promotion.overrides, check=lambda trial: None)
