"""Where published recipes lie in a space with conditions."""

from typing import Any

import pytest
from base_trial import base_trial
from pydantic import TypeAdapter

from search.recipes import RECIPES, Recipe
from search.space.axes import Axis
from search.space.candidate import build_trial, recipe_sample
from search.space.space import Space
from trainers.config import TrialConfig

ADAPTER: TypeAdapter[dict[str, Axis]] = TypeAdapter(dict[str, Axis])
HEAVY, LIGHT = RECIPES["canonical"], RECIPES["light"]
"""MixUp 0.8 and CutMix 1.0; neither."""
BASE = TrialConfig.model_validate(base_trial())
ALPHA = {"uniform": [0.1, 1.0], "when": {"_mix": ["on"]}}
CUTMIX = {"choice": [0.5, 1.0], "when": {"_mix": ["on"], "_cut": [True]}, "otherwise": 0.0}


def space(axes: dict[str, Any]) -> Space:
    return ADAPTER.validate_python(axes)


@pytest.mark.parametrize("order", [["on", "off"], ["off", "on"]])
@pytest.mark.parametrize(
    ("recipe", "point"),
    [
        (HEAVY, {"_mix": "on", "_cut": True, "augment.mixup": 0.8, "augment.cutmix": 1.0}),
        (LIGHT, {"_mix": "off"}),
    ],
)
def test_axes_that_are_no_fields_are_set_so_that_the_recipe_lies_in_the_space(
    recipe: Recipe, point: dict[str, Any], order: list[str]
) -> None:
    axes = space(
        {
            "_mix": {"choice": order},
            "_cut": {"choice": [False, True], "when": {"_mix": ["on"]}},
            "augment.mixup": ALPHA,
            "augment.cutmix": CUTMIX,
        }
    )

    sample = recipe_sample(BASE, axes, recipe)

    assert sample == point
    built = build_trial(BASE, axes, sample, recipe=recipe)
    assert built == build_trial(BASE, {}, {}, recipe=recipe)


def test_a_value_outside_of_its_axis_is_left_for_the_caller_to_find() -> None:
    narrow = {**ALPHA, "uniform": [0.1, 0.5]}
    axes = space({"_mix": {"choice": ["off", "on"]}, "augment.mixup": narrow})

    with pytest.raises(ValueError, match=r"augment\.mixup does not exist there, .* widen the axis"):
        recipe_sample(BASE, axes, HEAVY)


def test_a_recipe_that_the_space_would_change_is_refused() -> None:
    first = {"attack.name": {"choice": ["pgd", "fgsm"]}}
    mixup = {"uniform": [0.1, 1.0], "when": {"attack.name": ["fgsm"]}, "otherwise": 0.0}
    axes = space(first | {"augment.mixup": mixup})

    with pytest.raises(ValueError, match=r"augment\.mixup is 0\.0, and the recipe has 0\.8; widen"):
        recipe_sample(BASE, axes, HEAVY)


def test_what_a_recipe_has_where_an_axis_does_not_exist_is_the_recipes() -> None:
    reach = {"uniform": [1.0, 1.1], "when": {"attack.name": ["fgsm"]}}
    axes = space({"attack.name": {"choice": ["pgd", "fgsm"]}, "attack.reach": reach})

    sample = recipe_sample(BASE, axes, HEAVY)

    assert sample.keys() == {"attack.name"}
    built = build_trial(BASE, axes, sample, recipe=HEAVY)
    assert built.attack == build_trial(BASE, {}, {}, recipe=HEAVY).attack
