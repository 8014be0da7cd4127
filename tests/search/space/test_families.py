"""A search over several families of models, within constraints on what they cost."""

from pathlib import Path
from typing import Any

import pytest
from family_factory import tiny
from ledger_factory import DEMO, Session, experiment
from optuna.trial import TrialState

from models.config import ViTConfig
from search.config import ExperimentConfig
from search.errors import UserError
from search.load import load_experiment
from search.plan.preflight import check_constraints, check_models

VIT = tiny("vit", patch_size=8, width=32, stem_convs=3)


def test_a_search_over_families_starts_recipes_in_the_first_branch(tmp_path: Path) -> None:
    base = load_experiment(DEMO, {}).base.model.model_dump(mode="json")
    families = {
        "convnext": {"section": base, "space": {"stem": {"choice": ["patch", "conv"]}}},
        "vit": {
            "section": VIT.model_dump(mode="json"),
            "space": {"depth": {"int": [1, 3]}, "stem": {"choice": ["patch", "conv"]}},
        },
    }
    # The depth of a ViT is no axis of a ConvNeXt; both have a stem, each its own axis.
    space = {"model": {"branch": families}}
    config = experiment(**{"space": space, "constraints": {}, "budget.trials": 20})
    session = Session(tmp_path / "s", config)

    records = [session.open() for _ in range(12)]

    revisiting = records[2]
    assert (revisiting.params["model"], revisiting.params["model[convnext].stem"]) == (
        "convnext",
        "conv",
    )
    assert revisiting.config.model.normalize == "none"  # the recipe's, not the branch's
    drawn = [record for record in records[3:] if record.params["model"] == "vit"]
    assert drawn
    for record in drawn:
        assert isinstance(record.config.model, ViTConfig)
        assert record.config.model.depth == record.params["model[vit].depth"]
        assert record.config.model.stem == record.params["model[vit].stem"]


WIDTHS = {"choice": [[16, 32, 64], [32, 64, 128]]}
"""The demo's ConvNeXt, with 0.06 M parameters, and one of twice its widths."""


def bounded(**constraints: Any) -> ExperimentConfig:
    return experiment(
        space={"model.widths": WIDTHS},
        warm_start=[],
        constraints=constraints,
        sampler={"name": "random", "seed": 0},
    )


def test_a_sample_beyond_a_constraint_never_becomes_a_trial_and_the_study_knows(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", bounded(params_m=[0.05, 0.1]))

    records = [session.open() for _ in range(6)]

    assert [record.params["model.widths"] for record in records] == [[16, 32, 64]] * 6
    assert session.ledger.next_trial() is None
    assert session.ledger.stuck == ""
    trials = session.study.get_trials()
    rejected = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert rejected
    assert len(trials) == len(records) + len(rejected)
    for trial in trials:
        excess = trial.constraints["params_m"]
        assert (excess > 0) == (trial in rejected)


def test_a_resumed_search_goes_on_past_what_was_rejected(tmp_path: Path) -> None:
    config = bounded(params_m=[0.05, 0.1])
    before = Session(tmp_path / "s", config)
    first = [before.open() for _ in range(3)]

    after = Session(tmp_path / "s", config)
    again = [after.open() for _ in range(6)]

    assert [record.key for record in again[:3]] == [record.key for record in first]
    assert after.ledger.next_trial() is None


def test_a_search_whose_samples_all_violate_a_constraint_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.books.ledger.MAX_REJECTED", 20)
    session = Session(tmp_path / "s", bounded(params_m=[5, 10]))

    assert session.ledger.next_trial() is None

    assert "20 samples in a row" in session.ledger.stuck
    assert "below the least allowed 5" in session.ledger.stuck


def test_the_search_refuses_such_constraints_before_it_starts() -> None:
    with pytest.raises(UserError, match=r"none of 200 random samples .* below the least allowed 5"):
        check_constraints(bounded(params_m=[5, 10]))


def test_a_recipe_beyond_a_constraint_is_refused() -> None:
    config = experiment(
        **{
            "base.model.widths": [64, 128, 256],
            "space": {"model.stem": {"choice": ["patch", "conv"]}},
        }
    )

    with pytest.raises(UserError, match="recipe 'canonical' violates the constraints: params_m"):
        check_constraints(config)


def test_a_sample_that_is_invalid_between_the_ends_of_an_axis_is_no_trial(tmp_path: Path) -> None:
    # 3 and 9 are kernel sizes, 4 is none.
    config = experiment(
        space={"model.kernel_size": {"int": [3, 9]}},
        warm_start=[],
        constraints={},
        sampler={"name": "random", "seed": 0},
    )
    session = Session(tmp_path / "s", config)

    records = [session.open() for _ in range(6)]

    assert {record.params["model.kernel_size"] for record in records} <= {3, 5, 7, 9}
    states = [trial.state for trial in session.study.get_trials()]
    assert states.count(TrialState.PRUNED) == len(states) - 6 > 0


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "space.model.branch.resnet.space.act",
            {"choice": []},
            r"space\.model\.branch\.resnet\.space\.act: .* at least 1 item",
        ),
        (
            "space.model.branch.vit.section.heads",
            5,
            r"space\.model: the value 'vit' is invalid: model: width \(64\) must be divisible by",
        ),
        (
            "space.model.branch.resnet.space",
            {"patch_size": {"int": [4, 8]}},
            r"space\.model\[resnet\]\.patch_size: the value 4 cannot be set: .* no field",
        ),
        (
            "space.model.branch.vit.space",
            {"stem_convs": {"int": [1, 3]}},
            r"space\.model\[vit\]\.stem_convs: the value 1 is invalid: model: stem_convs \(1\)",
        ),
        ("constraints", {"params": [1, 2]}, r"constraints\.params.*'params_m'"),
        ("constraints.params_m", [3, 2], r"low must be less than high, got \[3, 2\]"),
    ],
)
def test_a_mistake_in_a_branch_or_a_constraint_is_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_experiment(DEMO, {path: value})


def test_an_axis_that_only_one_branch_reads_is_no_mistake() -> None:
    base = load_experiment(DEMO, {}).base.model.model_dump(mode="json")
    branches = {
        name: {"section": {**base, "stem": name}, "space": {}} for name in ("patch", "conv")
    }
    space = {"model": {"branch": branches}, "model.stem_act": {"choice": ["gelu", "relu"]}}

    assert experiment(space=space).space["model.stem_act"]

    alone = {
        "model": {"branch": {"patch": branches["patch"]}},
        "model.stem_act": space["model.stem_act"],
    }
    with pytest.raises(UserError, match=r"model\.stem_act changes nothing: .* 'patch'"):
        experiment(space=alone, warm_start=[])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"init": "/nowhere.pt"}, "base: weights must be a file, found none at /nowhere.pt"),
        ({"pretrained": True}, "base: .*pretrained"),
    ],
)
def test_weights_that_cannot_be_had_are_refused_before_the_search(
    weights: dict[str, Any], words: str
) -> None:
    changes = {f"base.weights.{name}": value for name, value in weights.items()}

    with pytest.raises(UserError, match=words):
        check_models(experiment(**changes))


def test_paths_of_weights_are_made_absolute_wherever_a_user_writes_them() -> None:
    config = experiment(
        **{
            "base.weights.init": "a.pt",
            "space": {"weights.init": {"choice": ["", "b.pt"]}},
            "promotion.overrides": {"weights.init": "c.pt"},
            "warm_start": [],
        }
    )

    here = Path.cwd()
    assert config.base.weights.init == str(here / "a.pt")
    assert config.space["weights.init"].model_dump() == {"choice": ("", str(here / "b.pt"))}
    assert config.promotion.overrides == {"weights.init": str(here / "c.pt")}
