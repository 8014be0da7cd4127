"""Clean trainings are shared exactly by the trials that would train the same."""

from typing import Any

import pytest
from family_factory import tiny

from models.clean_start import clean_start_key

DATA = {"name": "photos", "resolution": 8, "classes": [0, 3]}
RECIPE = {"epochs": 2, "optim": {"lr": 0.1, "betas": (0.9, 0.95)}, "ema": True}


def key(
    *, model: dict[str, Any] | None = None, data: Any = DATA, recipe: dict[str, Any] = RECIPE
) -> str:
    return clean_start_key(tiny("convnext", **(model or {})), data=data, recipe=recipe)


@pytest.mark.parametrize("field", ["drop_path", "head_dropout"])
def test_rates_that_only_training_reads_do_not_count(field: str) -> None:
    assert key(model={field: 0.2}) == key()


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize": "half"},
        {"stem": "patch"},
        {"act": "relu"},
        {"blur_pool": True},
        {"layer_scale": 1e-6},
        {"depths": [2, 1]},
    ],
)
def test_another_architecture_has_another_start(changes: dict[str, Any]) -> None:
    assert key(model=changes) != key()


def test_the_order_of_fields_does_not_count() -> None:
    shuffled = {"ema": True, "optim": {"betas": (0.9, 0.95), "lr": 0.1}, "epochs": 2}

    assert key(recipe=shuffled, data=dict(reversed(DATA.items()))) == key()


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE | {"epochs": 3},
        RECIPE | {"ema": 1},
        RECIPE | {"ema": "True"},
        RECIPE | {"optim": {"lr": 0.1, "betas": (0.95, 0.9)}},
        RECIPE | {"seed": 0},
        {},
    ],
)
def test_another_recipe_has_another_start(recipe: dict[str, Any]) -> None:
    assert key(recipe=recipe) != key()


def test_equal_numbers_and_sequences_are_equal_however_spelt() -> None:
    spelt = {"epochs": 2.0, "optim": {"lr": 0.1, "betas": [0.9, 0.95]}, "ema": True}

    assert key(recipe=spelt) == key()


def test_data_and_recipe_cannot_be_mistaken_for_each_other() -> None:
    assert key(data=RECIPE, recipe=DATA) != key()


@pytest.mark.parametrize("data", ["0f1e", ["a", "b"], None])
def test_data_may_be_any_json(data: Any) -> None:
    assert key(data=data) == key(data=data) != key()


def test_the_key_is_a_name_for_a_folder() -> None:
    assert len(key()) == 64
    assert set(key()) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"lr": float("nan")}, "recipe.lr of a clean start must be JSON .* got nan"),
        ({"lr": float("inf")}, "recipe.lr .* got inf"),
        ({"steps": {3: "x"}}, "recipe.steps .* got the key 3"),
        ({"sizes": [1, {2}]}, r"recipe.sizes\[1\] .* got \{2\}; pass the config's model_dump"),
    ],
)
def test_what_json_cannot_hold_is_refused(recipe: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        key(recipe=recipe)
