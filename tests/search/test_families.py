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
from search.preflight import check_constraints

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
        sampler={"name": "random", "seed": 0, "startup_trials": 0},
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
    monkeypatch.setattr("search.ledger.MAX_REJECTED", 20)
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
