"""What `rampart cost` prints of an experiment."""

import io
from typing import Any

import pytest
from repository import DEMO
from rich.console import Console

from search.config import ExperimentConfig
from search.errors import UserError
from search.load import load_experiment
from search.overrides import with_overrides
from search.plan.cost_page import CORNERS, cost_page, costly_ends
from search.space.constraints import measure

SPACE: dict[str, Any] = {
    "model.depths": {"choice": [[1, 1, 1], [1, 3, 1]]},
    "attack.steps": {"int": [1, 3]},
    "optim.lr": {"log_uniform": [0.001, 0.01]},
}


def experiment(space: dict[str, Any], constraints: dict[str, Any]) -> ExperimentConfig:
    return load_experiment(DEMO, {"warm_start": [], "space": space, "constraints": constraints})


def printed(of: ExperimentConfig) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(cost_page(of))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(of: ExperimentConfig, **overrides: Any) -> list[str]:
    values = measure(with_overrides(of.base, overrides))
    names = ("params_m", "gmacs", "activation_mb", "attack_activation_mb", "train_gmacs")
    return [f"{values[name]:.4g}" for name in names]


def row(page: str, what: str) -> list[str]:
    [line] = [line for line in page.splitlines() if line.startswith(what)]
    return line.removeprefix(what).split()


def test_base_and_both_ends_of_each_axis_that_matters_have_a_row() -> None:
    of = experiment(SPACE, {})

    page = printed(of)

    assert row(page, "base ") == cells(of)
    assert row(page, "model.depths = [1, 3, 1]") == cells(of, **{"model.depths": [1, 3, 1]})
    assert row(page, "attack.steps = 3") == cells(of, **{"attack.steps": 3})
    assert "optim.lr" not in page
    assert "constraints: none" in page


def test_the_ends_of_a_branch_lie_in_its_section() -> None:
    tree = experiment(SPACE, {}).base.model.model_dump(mode="json")
    leaf = {"depths": {"choice": [[1, 1, 1], [2, 2, 2]]}}
    branches = {"small": {"section": tree, "space": leaf}}

    found = dict(costly_ends(experiment({"model": {"branch": branches}}, {})))

    assert list(found) == [
        "model = small",
        "model[small].depths = [1, 1, 1]",
        "model[small].depths = [2, 2, 2]",
    ]
    last = found["model[small].depths = [2, 2, 2]"].model
    assert last.model_dump(mode="json") == {**tree, "depths": [2, 2, 2]}


def test_each_row_says_which_constraints_it_breaks() -> None:
    params_m = measure(experiment(SPACE, {}).base)["params_m"]
    constraints = {"params_m": {"max": params_m}, "gmacs": {"min": 1000}}

    page = printed(experiment(SPACE, constraints))

    assert page.startswith(f"constraints: params_m 0 to {params_m:g}, gmacs 1000 or more")
    assert row(page, "base ")[5:] == ["no:", "gmacs"]
    assert row(page, "model.depths = [1, 3, 1]")[5:] == ["no:", "params_m,", "gmacs"]


def test_a_row_within_the_constraints_says_so() -> None:
    page = printed(experiment(SPACE, {"params_m": [0.001, 100]}))

    assert row(page, "base ")[5:] == ["yes"]


def test_the_extremes_are_the_corners_of_least_and_most_arithmetic() -> None:
    of = experiment(SPACE, {})

    page = printed(of)

    low = cells(of, **{"model.depths": [1, 1, 1], "attack.steps": 1})
    high = cells(of, **{"model.depths": [1, 3, 1], "attack.steps": 3})
    assert row(page, f"cheapest of {CORNERS} corners") == low
    assert row(page, f"dearest of {CORNERS} corners") == high
    assert "Cheapest: model.depths = [1, 1, 1], attack.steps = 1\n" in page
    assert "Dearest: model.depths = [1, 3, 1], attack.steps = 3\n" in page


def test_a_space_of_recipes_alone_says_that_nothing_changes_the_cost() -> None:
    page = printed(experiment({"optim.lr": SPACE["optim.lr"]}, {}))

    assert "No axis of the space changes the cost." in page
    assert "corners" not in page


def test_a_model_that_cannot_be_built_is_the_users_mistake() -> None:
    of = experiment({"model.depths": {"choice": [[1, 1, 1]]}}, {})
    too_deep = {"base.model.depths": [1] * 6, "base.model.widths": [16] * 6, "space": SPACE_OF_LR}

    with pytest.raises(UserError, match="base: 6 stages after stem_stride 4 need resolution >= "):
        cost_page(with_overrides(of, too_deep))


SPACE_OF_LR: dict[str, Any] = {"optim.lr": SPACE["optim.lr"]}
