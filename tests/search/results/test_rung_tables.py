import pandas as pd
from records_factory import full_run, progress, record, result, search_records

from search.books.records import RungTraining
from search.results.rung_tables import (
    FULL_RUN_COLUMNS,
    RUNG_COLUMNS,
    fate_at,
    full_runs_frame,
    rungs_frame,
)
from trainers.metrics import wilson_interval


def test_a_row_per_trial_and_rung_holds_the_check_there() -> None:
    trial = record(3, status="stopped", epochs=6)

    frame = rungs_frame([trial, record(4, status="failed", epochs=0)])

    assert frame["epoch"].tolist() == [3, 6]
    assert frame["fate"].tolist() == ["went on", "stopped"]
    assert frame["train_seconds"].tolist() == [30, 60]
    assert frame["check_seconds"].tolist() == [2, 2]
    robust = [check.robust for _, check in trial.checks]
    assert frame["robust_accuracy"].tolist() == [one.value for one in robust]
    intervals = [wilson_interval(one.correct, 120) for one in robust]
    assert list(zip(frame["robust_low"], frame["robust_high"], strict=True)) == intervals


def test_there_are_as_many_rows_as_checks() -> None:
    records = search_records()

    assert len(rungs_frame(records)) == sum(len(r.checks) for r in records)


def test_trainings_of_a_ladder_add_up_and_continue_their_epochs() -> None:
    trial = record(0, status="paused", epochs=3)
    below = RungTraining(rung=3, epochs_before=0, progress=progress(3))
    climbed = trial.model_copy(update={"below": (below,), "epochs_before": 3})

    frame = rungs_frame([climbed])

    # Three epochs anew, after three epochs on the rung below: both end in a check.
    assert frame["epoch"].tolist() == [3, 6]
    assert frame["train_seconds"].tolist() == [30, 60]


def test_a_running_trial_is_on_its_way_from_its_last_rung() -> None:
    trial = record(0, status="running", epochs=5)

    assert [fate_at(trial, epoch) for epoch in (0, 3)] == ["went on", "running"]


def test_a_full_run_stands_beside_what_its_trial_showed() -> None:
    records = [record(2), record(3)]
    promoted = [
        (full_run("t00003"), result(clean=150, robust=96)),
        (full_run("default"), None),
    ]

    frame = full_runs_frame(promoted, records)

    shown = {epoch: check.robust for epoch, check in records[1].checks}
    row = frame.iloc[0]
    for epoch, accuracy in shown.items():
        assert row[f"rung_{epoch}_robust_accuracy"] == accuracy.value
        assert row[f"rung_{epoch}_robust_n"] == 120
    assert (row["robust_accuracy"], row["robust_n"], row["split"]) == (0.4, 240, "test")
    assert frame.iloc[1]["rung_12_robust_accuracy"] is pd.NA
    assert frame["recipe"].tolist() == ["t00003", "default"]


def test_empty_tables_have_the_columns_of_full_ones() -> None:
    of_rungs, of_full_runs = rungs_frame([]), full_runs_frame([], [])

    assert {name: str(kind) for name, kind in of_rungs.dtypes.items()} == RUNG_COLUMNS
    assert {name: str(kind) for name, kind in of_full_runs.dtypes.items()} == FULL_RUN_COLUMNS
