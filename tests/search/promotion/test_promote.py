"""What a full run is made of, and what its end writes, without running one."""

import io
from functools import cache
from pathlib import Path

import pytest
from diagnosis_factory import DIAGNOSIS, FLAG
from records_factory import (
    BASE,
    check,
    experiment,
    full_run,
    progress,
    record,
    result,
    search_folder,
    write_promoted,
)
from rich.console import Console

from search.books.records import (
    FullRun,
    TrialRecord,
    read_promoted,
    write_full_run,
    write_record,
)
from search.promotion import promoted_run
from search.promotion.config import PromotionConfig
from search.promotion.lineage import read_lineage, read_stages
from search.promotion.promote import close_run, promote_best, training_of
from search.promotion.promoted_run import (
    Finalist,
    finalist,
    is_finished,
    payload_of,
    plan_run,
    runs_folder,
)

# Made once for each test: checking a space takes its time.
settings_of, folder_of = cache(experiment), cache(search_folder)
STAGE = {"epochs": 6}
FULL = {"epochs": 30}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(promoted_run, "describe_hardware", lambda: "a test")


def planned(
    root: Path, trial: TrialRecord | None, *, repeat: int = 0, stage: int | None = None
) -> FullRun:
    who = Finalist(record=None, parent="") if trial is None else finalist(trial)
    return plan_run(
        folder_of(root),
        settings_of(root),
        who,
        overrides=FULL if stage is None else STAGE,
        repeat=repeat,
        stage=stage,
    )


def test_a_full_run_is_the_trial_with_the_promotions_overrides(tmp_path: Path) -> None:
    trial = record(3)

    run, default = planned(tmp_path, trial), planned(tmp_path, None)

    assert run.config == trial.config.model_copy(update=FULL)
    assert run.trial_config_hash == trial.config_hash
    assert default.config == settings_of(tmp_path).base.model_copy(update=FULL)
    assert (run.key, default.key) == ("t00003", "default")
    assert (run.parent, default.parent) == ("trials/t00003", "")


def test_a_repetition_differs_in_its_seed_alone(tmp_path: Path) -> None:
    first, third = planned(tmp_path, record(3)), planned(tmp_path, record(3), repeat=2)

    assert third.config == first.config.model_copy(update={"seed": BASE["seed"] + 2})
    assert (third.key, third.recipe) == ("t00003-s2", "t00003")
    assert planned(tmp_path, None, repeat=1).key == "default-s1"
    assert third.config_hash != first.config_hash


def test_the_clean_start_of_a_repetition_has_a_seed_of_its_own(tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path), folder_of(tmp_path)

    first, third = (
        payload_of(folder, settings, planned(tmp_path, record(3), repeat=repeat)).driver
        for repeat in (0, 2)
    )

    assert first.clean_recipe == settings.base
    assert third.clean_recipe.seed == settings.base.seed + 2


def test_a_stage_lies_apart_and_never_sees_the_test_split(tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path), folder_of(tmp_path)
    run = planned(tmp_path, record(3), stage=1)

    payload, full = (
        payload_of(folder, settings, one) for one in (run, planned(tmp_path, record(3)))
    )

    assert run.config.epochs == 6
    assert payload.reference is None
    assert full.reference == settings.reference
    assert payload.folder == str(folder.promoted / "stages" / "1" / "t00003")
    assert payload.driver.run != full.driver.run
    assert training_of(settings, run).name == "photos-stage1-t00003"


def test_a_run_that_was_begun_keeps_its_lineage(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    fresh = planned(tmp_path, None)
    begun = fresh.model_copy(update={"commit": "of then", "status": "completed"})
    write_promoted(folder, begun, result(clean=200, robust=100))

    assert planned(tmp_path, None) == begun
    assert planned(tmp_path, None, repeat=1).commit != "of then"
    assert is_finished(folder, begun)
    assert not is_finished(folder, planned(tmp_path, None, repeat=1))


def test_a_stage_is_finished_without_a_result(tmp_path: Path) -> None:
    folder, run = folder_of(tmp_path), planned(tmp_path, record(3), stage=1)
    assert not is_finished(folder, run)

    close_run(folder, run, None, DIAGNOSIS)

    assert is_finished(folder, run)
    assert read_promoted(folder.promoted) == []
    assert [one.stage for one, _ in read_stages(folder)] == [1]


def test_a_record_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    folder, run = folder_of(tmp_path), full_run("t00003")
    root = write_promoted(folder, run, result(clean=200, robust=120))
    old = run.model_dump_json(exclude={"repeat", "stage", "parent"})
    (root / "record.json").write_text(old)

    ((read, outcome),) = read_promoted(folder.promoted)

    assert read == run
    assert outcome is not None
    assert read.recipe == "t00003"


def test_the_flags_of_a_trial_go_with_its_full_run(tmp_path: Path) -> None:
    trial = record(3).model_copy(update={"diagnoses": (FLAG,)})

    assert planned(tmp_path, trial).trial_diagnoses == (FLAG,)


def test_a_full_run_is_flagged_by_its_own_checks_and_completes(tmp_path: Path) -> None:
    folder, run = folder_of(tmp_path), full_run("t00003")
    root = write_promoted(folder, run, None)
    done = progress(12)
    guess = done.history[-1].model_copy(update={"check": check(9, 8)})
    done = done.model_copy(update={"history": (*done.history[:-1], guess)})
    (root / "progress.json").write_text(done.model_dump_json())

    close_run(folder, run, None, DIAGNOSIS)

    ((read, _),) = read_promoted(folder.promoted)
    assert read.status == "completed"
    assert [one.name for one in read.diagnoses] == ["catastrophic overfitting"]


def finished(root: Path, trial: TrialRecord | None, *, repeat: int = 0, robust: int) -> FullRun:
    """Writes a full run with its result, as if it had been trained."""
    run = planned(root, trial, repeat=repeat)
    run = run.model_copy(update={"status": "completed", "progress": progress(12)})
    write_promoted(folder_of(root), run, result(clean=200, robust=robust))
    return run


def finish_stage(root: Path, trial: TrialRecord, *, robust: int) -> None:
    """Writes a run of the first stage whose last check counts `robust` images."""
    run = planned(root, trial, stage=1)
    curve = progress(12)
    last = curve.history[-1].model_copy(update={"check": check(100, robust)})
    curve = curve.model_copy(update={"history": (*curve.history[:-1], last)})
    update = {"status": "completed", "progress": curve}
    write_full_run(runs_folder(folder_of(root), 1), run.model_copy(update=update))


def promoted_by_hand(root: Path, *trials: int) -> str:
    """Promotes from what lies under `root`, where every run is finished; returns what is said."""
    console = Console(file=io.StringIO(), width=60)
    promotion = PromotionConfig.model_validate(
        {
            "top_k": 3,
            "seeds": 2,
            "min_clean_accuracy": 0.0,
            "before": [{"overrides": STAGE, "keep": 1}],
            "overrides": FULL,
        }
    )
    promote_best(
        folder_of(root), settings_of(root), promotion=promotion, trials=trials, console=console
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_best_of_a_stage_alone_gets_full_runs_and_a_verdict(tmp_path: Path) -> None:
    folder, trials = folder_of(tmp_path), [record(i, top=0.4 + i / 20) for i in range(4)]
    for trial in trials:
        write_record(folder.record(trial.key), trial)
    for trial, robust in zip(trials[1:], (40, 60, 50), strict=True):
        finish_stage(tmp_path, trial, robust=robust)
    for repeat in range(2):
        finished(tmp_path, trials[2], repeat=repeat, robust=120 + repeat)
        finished(tmp_path, None, repeat=repeat, robust=80 - repeat)

    said = promoted_by_hand(tmp_path)

    assert said.startswith("promoting t00003, t00002, t00001 by rule top_k (")
    assert "stage 1: t00002 go on\n" in said
    assert "Verdict: t00002 (robust 50.2 % [" in said
    assert "training seeds 7, 8) wins." in said
    assert sorted(path.name for path in folder.promoted.glob("*/")) == [
        *("default", "default-s1", "stages", "t00002", "t00002-s1")
    ]
    found = read_lineage(folder, "t00001")
    assert found is not None
    assert [one.folder for one in found.runs] == ["promoted/stages/1/t00001"]


def test_a_named_trial_passes_no_stage(tmp_path: Path) -> None:
    folder, trial = folder_of(tmp_path), record(0)
    for one in (trial, record(1), record(2)):
        write_record(folder.record(one.key), one)
    for repeat in range(2):
        finished(tmp_path, trial, repeat=repeat, robust=120)
        finished(tmp_path, None, repeat=repeat, robust=80)

    said = promoted_by_hand(tmp_path, 0)

    assert said.startswith("promoting t00000, as asked for\n")
    assert not (folder.promoted / "stages").exists()
