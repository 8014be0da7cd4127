"""Trials of earlier studies as warm starts, beside the published recipes."""

import logging
from pathlib import Path
from typing import Any

import pytest
from records_factory import experiment, record, search_folder

from search.books.records import TrialRecord, write_record
from search.books.study import ORIGIN_ATTR, RECIPE_ATTR, TASK_ATTR, create_study, open_study
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.space.space import Sample, suggest

SPACE = {
    "optim.lr": {"log_uniform": [1e-4, 1e-2]},
    "attack.name": {"choice": ["pgd", "apgd"]},
    "model.depths": {"choice": [[1, 1], [1, 2]]},
}


def params(lr: float, **more: Any) -> dict[str, Any]:
    return {"optim.lr": lr, "attack.name": "apgd", "model.depths": [1, 2], **more}


def earlier(root: Path, records: list[TrialRecord]) -> Path:
    """A search that has ended, with these trials."""
    folder = search_folder(root)
    for one in records:
        write_record(folder.record(one.key), one)
    return folder.root


def starting_with(
    root: Path, *starts: Any, space: dict[str, Any] | None = None
) -> ExperimentConfig:
    settings = experiment(root).model_dump(mode="json")
    changes = {"warm_start": starts, "space": space or SPACE, "name": "new"}
    return ExperimentConfig.model_validate(settings | changes)


def queued(root: Path, config: ExperimentConfig) -> list[tuple[Sample, dict[str, Any]]]:
    """Creates the study and asks for every trial that is queued in it."""
    (root / "new").mkdir()
    folder = SearchFolder(root=root / "new")
    create_study(folder, config)
    study = open_study(folder, config)
    asked = [study.ask() for _ in study.get_trials(deepcopy=False)]
    return [(suggest(trial, config.space), trial.user_attrs) for trial in asked]


def test_the_best_trials_of_an_earlier_study_come_first_tagged_by_origin_and_task(
    tmp_path: Path,
) -> None:
    records = [
        record(0, top=0.30, params=params(0.001)),
        record(1, top=0.45, params=params(0.002)),
        record(2, top=0.40, params=params(0.003)),
        record(3, status="failed", epochs=0, params=params(0.004)),
    ]
    study = earlier(tmp_path / "old", records)
    config = starting_with(tmp_path, "canonical", {"study": str(study), "top": 2})

    recipe, first, second = queued(tmp_path, config)

    assert recipe[1] == {RECIPE_ATTR: "canonical"}
    assert (first[0], second[0]) == (params(0.002), params(0.003))
    eps = record(0).config.threat.eps
    assert first[1] == {ORIGIN_ATTR: "study:photos", TASK_ATTR: f"photos linf eps={eps:.4g}"}


def test_a_trial_that_was_a_recipe_is_built_with_it_again(tmp_path: Path) -> None:
    study = earlier(tmp_path / "old", [record(0, origin="recipe:light", params=params(0.001))])

    ((_, attrs),) = queued(tmp_path, starting_with(tmp_path, {"study": str(study), "top": 1}))

    assert attrs[RECIPE_ATTR] == "light"
    assert attrs[ORIGIN_ATTR] == "study:photos"


def test_an_axis_that_the_earlier_study_did_not_have_takes_the_value_of_its_trials(
    tmp_path: Path,
) -> None:
    study = earlier(tmp_path / "old", [record(0, params=params(0.001))])
    wider = {**SPACE, "optim.weight_decay": {"uniform": [0.0, 1.0]}}

    ((sample, _),) = queued(
        tmp_path, starting_with(tmp_path, {"study": str(study), "top": 1}, space=wider)
    )

    assert sample["optim.weight_decay"] == record(0).config.optim.weight_decay


OUTSIDE = [
    (params(0.5), "optim.lr is 0.5, which space.optim.lr does not contain"),
    (params(0.001, **{"attack.name": "fgsm"}), "attack.name is 'fgsm', which space.attack.name"),
    (params(0.001, **{"optim.weight_decay": 0.3}), "it has optim.weight_decay, which is no axis"),
]


@pytest.mark.parametrize(("sample", "reason"), OUTSIDE)
def test_a_trial_outside_the_space_is_left_out_and_named(
    sample: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [record(0, top=0.5, params=sample), record(1, top=0.3, params=params(0.001))]
    study = earlier(tmp_path / "old", records)

    with caplog.at_level(logging.WARNING):
        asked = queued(tmp_path, starting_with(tmp_path, {"study": str(study), "top": 2}))

    assert [sample for sample, _ in asked] == [params(0.001)]
    assert f"warm_start: trial t00000 of photos is left out: {reason}" in caplog.text


def test_a_branch_that_the_space_does_not_have_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = earlier(tmp_path / "old", [record(0, params={"optim.lr": 0.001})])
    section = experiment(tmp_path).base.model.model_dump(mode="json")
    space = {"model": {"branch": {"ours": {"section": section, "space": {}}}}}

    asked = queued(tmp_path, starting_with(tmp_path, {"study": str(study), "top": 1}, space=space))

    assert asked == []
    assert "model is None, which is no branch of space.model" in caplog.text


def test_an_earlier_study_that_is_not_there_is_missed(tmp_path: Path) -> None:
    config = starting_with(tmp_path, {"study": str(tmp_path / "gone"), "top": 1})

    with pytest.raises(
        UserError, match=r"warm_start: there is no search at .*gone; name the folder"
    ):
        queued(tmp_path, config)
