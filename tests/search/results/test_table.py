import json
from pathlib import Path

import pandas as pd
import pytest
from diagnosis_factory import END, FLAG
from records_factory import record, search_folder, search_records

from search.results.rung_tables import rungs_frame
from search.results.table import COLUMNS, rank_trials, trials_frame, write_tables
from trainers.metrics import Accuracy, wilson_interval

KINDS = ("csv", "parquet")


def test_a_row_holds_the_check_of_the_highest_rung_with_wilsons_interval() -> None:
    trial = record(3, status="stopped", epochs=6)

    row = trials_frame([trial]).iloc[0]

    check = trial.checks[-1][1]
    low, high = wilson_interval(check.robust.correct, 120)
    assert (row["check_epoch"], row["robust_attack"], row["robust_n"]) == (
        6,
        "apgd_ce10+apgd_t3x10",
        120,
    )
    assert row["robust_accuracy"] == check.robust.correct / 120
    assert (row["robust_low"], row["robust_high"]) == pytest.approx((low, high))
    assert row["train_seconds"] == 60
    assert row["check_seconds"] == 4
    assert json.loads(row["config"]) == trial.config.model_dump(mode="json")


def test_accuracies_under_unseen_threats_have_columns_with_their_attack() -> None:
    trial, plain = record(3, status="stopped", epochs=6), record(4, status="stopped", epochs=6)
    unseen = Accuracy(attack="apgd_ce10+apgd_t3x10, l2 0.5", n=120, correct=30)
    assert trial.progress is not None
    history = tuple(
        epoch.model_copy(update={"check": epoch.check.model_copy(update={"unseen": (unseen,)})})
        if epoch.check
        else epoch
        for epoch in trial.progress.history
    )
    progress = trial.progress.model_copy(update={"history": history})
    trials = [trial.model_copy(update={"progress": progress}), plain]

    for frame in (trials_frame(trials), rungs_frame(trials)):
        row = frame[frame["number"] == 3].iloc[-1]
        assert row["unseen_1_accuracy"] == 0.25
        assert row["unseen_1_attack"] == "apgd_ce10+apgd_t3x10, l2 0.5"
        of_plain = frame[frame["number"] == 4].iloc[-1]
        assert pd.isna(of_plain["unseen_1_accuracy"])
    assert "unseen_1_accuracy" not in trials_frame([plain])


def test_a_trial_without_a_check_has_no_accuracy() -> None:
    row = trials_frame([record(0, status="failed", epochs=0, reason="non-finite")]).iloc[0]

    assert row["reason"] == "non-finite"
    for name in ("robust_accuracy", "robust_n", "robust_attack", "startup_s"):
        assert row[name] is pd.NA


def test_lists_and_mixed_values_become_json_text_and_numbers_one_type() -> None:
    first = record(0, params={"optim.lr": 1, "model.depths": [1, 1], "optim.warmup": 0})
    second = record(1, params={"optim.lr": 0.5, "model.depths": [1, 2]})

    frame = trials_frame([first, second])

    assert list(frame["params.model.depths"]) == ["[1, 1]", "[1, 2]"]
    assert str(frame["params.optim.lr"].dtype) == "Float64"
    assert frame["params.optim.warmup"].isna().tolist() == [False, True]


def test_an_empty_search_has_the_columns_and_types_of_a_full_one() -> None:
    assert {name: str(kind) for name, kind in trials_frame([]).dtypes.items()} == COLUMNS


def test_parquet_and_csv_give_the_table_back_and_leave_nothing_else(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    records = search_records()

    write_tables(folder, records)

    frame = trials_frame(records)
    pd.testing.assert_frame_equal(pd.read_parquet(folder.root / "trials.parquet"), frame)
    csv = pd.read_csv(folder.root / "trials.csv")
    assert csv["robust_n"].dropna().tolist() == frame["robust_n"].dropna().tolist()
    tables = [f"{name}.{kind}" for name in ("trials", "rungs", "full_runs") for kind in KINDS]
    assert {path.name for path in folder.root.iterdir()} == {"config.yaml", *tables}


def test_the_best_trial_is_completed_then_most_robust_then_cheapest() -> None:
    stopped = record(0, status="stopped", epochs=3, top=0.9)
    weak, strong = record(1, top=0.2), record(2, top=0.4)
    twin = strong.model_copy(update={"number": 5, "key": "t00005"})
    unchecked = record(3, status="running", epochs=1)

    ranked = rank_trials([twin, unchecked, stopped, weak, strong])

    assert [trial.key for trial in ranked] == ["t00002", "t00005", "t00001", "t00000"]


def test_a_trial_at_a_higher_rung_ranks_above_one_at_a_lower() -> None:
    low = record(0, status="paused", epochs=3, top=0.9)
    high = record(1, status="stopped", epochs=6, top=0.1)
    done = record(2, top=0.05)

    assert [trial.number for trial in rank_trials([low, high, done])] == [2, 1, 0]


def test_a_row_names_what_was_diagnosed_and_why() -> None:
    ended = record(0, status="diagnosed").model_copy(update={"diagnoses": (FLAG, END)})

    frame = trials_frame([ended, record(1)])

    told = f"label leaking: {FLAG.reason}; catastrophic overfitting: {END.reason}"
    assert frame["diagnoses"].tolist() == [told, pd.NA]
