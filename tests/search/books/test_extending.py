"""What a resume may change: more budget and rungs, never the meaning of what is there."""

from pathlib import Path
from typing import Any

import pytest
from ledger_factory import experiment

from search.books.extending import extended, require_same_reference, write_extended
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.load import load_experiment


def test_caps_are_added_to_and_everything_else_stays() -> None:
    before = experiment(**{"budget.trials": 6, "budget.hours": 2.0})

    after = extended(before, {}, {"trials": 10, "hours": 0.5})

    assert after.budget.trials == 16
    assert after.budget.hours == 2.5
    assert after.model_copy(update={"budget": before.budget}) == before


def test_rungs_resources_and_promotion_may_change() -> None:
    after = extended(
        experiment(),
        {
            "ladder.rungs": [1, 2, 3],
            "resources.concurrent_trials": 1,
            "promotion.overrides": {"epochs": 30},
            "checkpoints.minutes": 3,
        },
        {},
    )

    assert after.ladder.rungs == (1, 2, 3)
    assert after.promotion.overrides == {"epochs": 30}


def growing(**changes: Any) -> ExperimentConfig:
    grow = {"ladder.kind": "ladder", "ladder.grow": {"data.train_images": [384, 768]}}
    return experiment(**{**grow, **changes})


def test_a_ladder_that_grows_may_have_more_rungs() -> None:
    change = {"ladder.rungs": [1, 2, 3], "ladder.grow": {"data.train_images": [384, 768, 1152]}}

    after = extended(growing(), change, {})

    assert after.ladder.grow == {"data.train_images": (384, 768, 1152)}


@pytest.mark.parametrize(
    "change",
    [
        {"ladder.grow": {"data.train_images": [384, 1152]}},
        {"ladder.grow": {}},
        {"ladder.grow": {"data.train_images": [384, 768], "attack.steps": [1, 2]}},
    ],
)
def test_what_trials_have_trained_on_rungs_cannot_change(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"ladder\.grow\.\S+ can only add values"):
        extended(growing(), change, {})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"base.optim.lr": 0.5}, "base.optim.lr cannot change.* begin anew with name=ANOTHER"),
        ({"base.data.seed": 3}, "base.data.seed cannot change.* could not be compared"),
        ({"space": {"optim.lr": {"uniform": [0.1, 0.2]}}, "warm_start": []}, "space"),
        ({"early_check.t_steps": 9}, "early_check.t_steps cannot change.*different checks"),
        ({"objectives": ["robust", "gmacs"]}, "objectives cannot change"),
        ({"sampler.seed": 1}, "sampler.seed cannot change"),
        ({"ladder.reduction": 3}, "ladder.reduction cannot change"),
        ({"ladder.rungs": [1]}, r"ladder.rungs lacks \[2\]"),
        ({"runs_dir": "/elsewhere"}, "runs_dir cannot change.*move the folder"),
        ({"budget.trails": 3}, "did you mean 'budget.trials'"),
    ],
)
def test_a_change_of_meaning_is_refused_and_explained(
    overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=f"(?s){words}"):
        extended(experiment(), overrides, {})


@pytest.mark.parametrize(
    ("added", "words"),
    [
        ({"hours": 1}, "no cap on hours to add to; budget.hours=TOTAL sets one"),
        ({"epochs": 1}, "--add-budget knows trials, hours, device_hours, spend; got 'epochs'"),
        ({"trials": -1}, "must be a number above 0, got -1"),
        ({"trials": "many"}, "must be a number above 0, got 'many'"),
    ],
)
def test_a_budget_that_cannot_be_added_is_refused(added: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        extended(experiment(), {}, added)


def test_full_runs_that_were_attacked_keep_the_reference(tmp_path: Path) -> None:
    folder, before = SearchFolder(root=tmp_path), experiment()
    after = extended(before, {"reference.images": 120}, {})
    require_same_reference(folder, before, after)  # there is none yet
    (folder.promoted / "default").mkdir(parents=True)
    (folder.promoted / "default" / "result.json").touch()

    with pytest.raises(UserError, match="1 full runs were attacked by the old one"):
        require_same_reference(folder, before, after)
    require_same_reference(folder, before, before)


def test_paths_of_a_resume_are_made_absolute() -> None:
    after = extended(experiment(), {"promotion.overrides": {"weights.init": "start.pt"}}, {})

    assert after.promotion.overrides["weights.init"] == str(Path("start.pt").absolute())


def test_the_earlier_config_stays_beside_the_new_one(tmp_path: Path) -> None:
    folder, before = SearchFolder(root=tmp_path), experiment()
    after = extended(before, {}, {"trials": 1})

    write_extended(folder, before, before)
    assert not folder.config.exists()
    write_extended(folder, before, after)

    assert load_experiment(folder.config, {}).budget.trials == 7
    assert load_experiment(tmp_path / "config.1.yaml", {}).budget.trials == 6
