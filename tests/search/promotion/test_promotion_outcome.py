"""What the end of a promotion writes: verdict, cards, and the way from a trial to its full runs."""

from pathlib import Path

from diagnosis_factory import DIAGNOSIS
from records_factory import (
    full_run,
    progress,
    record,
    result,
    search_folder,
    write_promoted,
)

from search.books.records import read_records, write_record
from search.cluster.driver import Failure
from search.promotion.lineage import PromotedRun, Promotions, read_lineage
from search.promotion.promote import close_run, write_outcome
from search.promotion.promoted_run import runs_folder
from search.promotion.verdict import Verdict
from trainers.atomic import write_atomically


def test_every_evaluated_run_gets_a_card_with_the_verdict(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    write_promoted(folder, full_run("t00003"), result(clean=200, robust=120))
    write_promoted(folder, full_run("default"), result(clean=190, robust=100))

    verdict = write_outcome(folder)

    assert verdict is not None
    assert verdict.winner == "t00003"
    path = folder.promoted / "verdict.json"
    assert Verdict.model_validate_json(path.read_text()) == verdict
    for key in ("t00003", "default"):
        card = (folder.promoted / key / "model_card.md").read_text()
        assert "- Verdict: t00003 (robust 50.0 % [43.7, 56.3], autoattack-standard, clean " in card
    card = (folder.promoted / "t00003" / "model_card.md").read_text()
    assert "Difference to the default recipe" in card


def test_a_verdict_without_its_runs_is_removed(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    (folder.promoted / "default").mkdir(parents=True)
    (folder.promoted / "verdict.json").write_text("{}")

    assert write_outcome(folder) is None
    assert not (folder.promoted / "verdict.json").exists()


def test_a_trial_knows_its_full_runs_as_they_know_it(tmp_path: Path) -> None:
    folder, trial = search_folder(tmp_path), record(3)
    write_record(folder.record(trial.key), trial)
    stage = full_run("t00003").model_copy(
        update={"stage": 1, "parent": "trials/t00003", "progress": None}
    )
    reported = runs_folder(folder, 1) / "t00003" / "progress.json"
    write_atomically(reported, progress(12).model_dump_json())
    close_run(folder, stage, None, DIAGNOSIS)
    parent = {"parent": "promoted/stages/1/t00003"}
    outcome = result(clean=200, robust=120)
    write_promoted(folder, full_run("t00003").model_copy(update=parent), outcome)
    write_promoted(folder, full_run("default"), result(clean=190, robust=100))

    write_outcome(folder)

    found = read_lineage(folder, "t00003")
    assert found is not None
    assert found.is_winner
    at_stage, full = found.runs
    assert (at_stage.folder, full.folder) == ("promoted/stages/1/t00003", "promoted/t00003")
    assert at_stage.robust == progress(12).history[-1].check.robust  # pyright: ignore[reportOptionalMemberAccess]
    assert full.robust == outcome.robust
    assert read_lineage(folder, "t00004") is None
    assert [one.key for one in read_records(folder.trials)] == ["t00003"]


def test_a_failed_full_run_is_a_row_of_its_trial(tmp_path: Path) -> None:
    folder, run = search_folder(tmp_path), full_run("t00003")
    write_promoted(folder, run, None)

    close_run(folder, run, Failure(reason="non-finite loss", error="Traceback"), DIAGNOSIS)
    write_outcome(folder)

    expected = PromotedRun(
        folder="promoted/t00003",
        stage=None,
        seed=7,
        epochs=30,
        config_hash=run.config_hash,
        status="failed",
        reason="non-finite loss",
        clean=None,
        robust=None,
    )
    assert read_lineage(folder, "t00003") == Promotions(
        trial="t00003", is_winner=False, runs=(expected,)
    )
