"""What a full run is made of, without running one."""

from pathlib import Path

import pytest
from diagnosis_factory import DIAGNOSIS, FLAG
from records_factory import (
    check,
    experiment,
    full_run,
    progress,
    record,
    result,
    search_folder,
    write_promoted,
)

from search import promote
from search.records import read_promoted


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(promote, "describe_hardware", lambda: "a test")


def test_a_full_run_is_the_trial_with_the_promotions_overrides(tmp_path: Path) -> None:
    settings = experiment(tmp_path)
    trial = record(3)

    run = promote._full_run(search_folder(tmp_path), settings, trial)  # pyright: ignore[reportPrivateUsage]
    default = promote._full_run(search_folder(tmp_path), settings, None)  # pyright: ignore[reportPrivateUsage]

    assert run.config == trial.config.model_copy(update={"epochs": 30})
    assert run.trial_config_hash == trial.config_hash
    assert default.config == settings.base.model_copy(update={"epochs": 30})
    assert (run.key, default.key) == ("t00003", "default")


def test_a_run_that_was_begun_keeps_its_lineage(tmp_path: Path) -> None:
    settings, folder = experiment(tmp_path), search_folder(tmp_path)
    fresh = promote._full_run(folder, settings, None)  # pyright: ignore[reportPrivateUsage]
    begun = fresh.model_copy(update={"commit": "of then", "status": "completed"})
    write_promoted(folder, begun, result(clean=200, robust=100))

    assert promote._full_run(folder, settings, None) == begun  # pyright: ignore[reportPrivateUsage]
    assert promote._is_finished(folder, begun)  # pyright: ignore[reportPrivateUsage]


def test_every_evaluated_run_gets_a_card_and_the_default_stands_beside(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    write_promoted(folder, full_run("t00003"), result(clean=200, robust=120))
    write_promoted(folder, full_run("default"), result(clean=190, robust=100))

    promote.write_cards(folder)

    assert len(read_promoted(folder.promoted)) == 2
    card = (folder.promoted / "t00003" / "model_card.md").read_text()
    assert "Difference to the default recipe" in card
    assert (folder.promoted / "default" / "model_card.md").exists()


def test_the_flags_of_a_trial_go_with_its_full_run(tmp_path: Path) -> None:
    trial = record(3).model_copy(update={"diagnoses": (FLAG,)})

    run = promote._full_run(search_folder(tmp_path), experiment(tmp_path), trial)  # pyright: ignore[reportPrivateUsage]

    assert run.trial_diagnoses == (FLAG,)


def test_a_full_run_is_flagged_by_its_own_checks_and_completes(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    root = write_promoted(folder, full_run("t00003"), None)
    done = progress(12)
    guess = done.history[-1].model_copy(update={"check": check(9, 8)})
    done = done.model_copy(update={"history": (*done.history[:-1], guess)})
    (root / "progress.json").write_text(done.model_dump_json())

    promote._close(folder, "t00003", None, DIAGNOSIS)  # pyright: ignore[reportPrivateUsage]

    ((run, _),) = read_promoted(folder.promoted)
    assert run.status == "completed"
    assert [one.name for one in run.diagnoses] == ["catastrophic overfitting"]
