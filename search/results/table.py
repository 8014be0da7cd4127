"""The results table: a row per trial, so that any tool can read what the search showed.

Accuracies are those of the highest rung a trial reached (`check_epoch`), with attack and n. Where
weights are averaged, `raw_robust_accuracy` is that of the raw ones on the same images. Tables of
rungs and of full runs are in `search/results/rung_tables.py`.
"""

import json
from collections.abc import Sequence

import pandas as pd

from search.books.diagnosing import diagnosis_text
from search.books.records import TrialRecord, read_promoted
from search.folder import SearchFolder
from search.results.frame import (
    accuracy_cells,
    accuracy_columns,
    typed_frame,
    unseen_cells,
    unseen_columns,
    write_frame,
)
from search.results.rung_tables import full_runs_frame, rungs_frame

COLUMNS = {
    "key": "string",
    "number": "Int64",
    "origin": "string",
    "status": "string",
    "reason": "string",
    "diagnoses": "string",
    "epochs": "Int64",
    "check_epoch": "Int64",
    **accuracy_columns("clean"),
    **accuracy_columns("robust"),
    "raw_robust_accuracy": "Float64",
    "train_seconds": "Float64",
    "check_seconds": "Float64",
    "startup_s": "Float64",
    "params_m": "Float64",
    "gmacs": "Float64",
    "start": "string",
    "config_hash": "string",
    "config": "string",
}
"""Every column but the parameters, with its pandas type; all are nullable."""


def trials_frame(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Returns a row per trial, with a column `params.PATH` for each sampled path.

    A list becomes JSON text, and so does every value of a path whose values differ in kind, so
    that the types of the columns never depend on which trial came first.
    """
    rows = [_row(record) for record in records]
    paths = sorted({path for record in records for path in record.params})
    sampled = {
        f"params.{path}": _param_column([record.params.get(path) for record in records])
        for path in paths
    }
    unseen = unseen_columns(check for record in records for _, check in record.checks)
    return typed_frame(rows, COLUMNS | unseen).assign(**sampled)


def write_tables(folder: SearchFolder, records: Sequence[TrialRecord]) -> None:
    """Replaces `trials`, `rungs` and `full_runs`, .parquet and .csv, each atomically."""
    full_runs = full_runs_frame(read_promoted(folder.promoted), records)
    tables = {
        "trials": trials_frame(records),
        "rungs": rungs_frame(records),
        "full_runs": full_runs,
    }
    for name, frame in tables.items():
        csv, parquet = folder.root / f"{name}.csv", folder.root / f"{name}.parquet"
        write_frame(frame, csv=csv, parquet=parquet)


def rank_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns the trials with a check, best first: by `standing`.

    Ties go to the cheaper trial, then to the smaller number, as in the choice for promotion.
    """
    checked = [(r, place) for r in records if (place := standing(r)) is not None]
    by_cost = sorted(checked, key=lambda pair: (pair[0].train_seconds, pair[0].number))
    by_standing = sorted(by_cost, key=lambda pair: pair[1], reverse=True)
    return [record for record, _ in by_standing]


def standing(record: TrialRecord) -> tuple[bool, bool, int, float] | None:
    """Returns what orders trials, higher is better; None without a check.

    Completed ones stand above all others, failed and diagnosed ones below, as in promotion; then a
    higher rung above a lower one: checks at different epochs are not comparable. Within a rung
    robust accuracy decides.
    """
    if not record.checks:
        return None
    epoch, check = record.checks[-1]
    is_sound = record.status not in ("failed", "diagnosed")
    return (record.status == "completed", is_sound, epoch, check.robust.value)


def _row(record: TrialRecord) -> dict[str, object]:
    row: dict[str, object] = {
        name: getattr(record, name)
        for name in ("key", "number", "origin", "status", "reason", "epochs", "config_hash")
    }
    row |= {"train_seconds": record.train_seconds, "check_seconds": record.check_seconds}
    row |= {"startup_s": record.startup_s, "config": record.config.model_dump_json()}
    if record.diagnoses:
        row |= {"diagnoses": "; ".join(map(diagnosis_text, record.diagnoses))}
    if record.progress:
        row |= {"params_m": record.progress.params_m, "gmacs": record.progress.gmacs}
        row |= {"start": record.progress.start}
    if record.checks:
        epoch, check = record.checks[-1]
        row |= {"check_epoch": epoch}
        row |= accuracy_cells("clean", check.clean) | accuracy_cells("robust", check.robust)
        row |= unseen_cells(check)
    if record.last_raw_check:
        row |= {"raw_robust_accuracy": record.last_raw_check.robust.value}
    return row


def _param_column(values: Sequence[object]) -> pd.Series:
    present = [value for value in values if value is not None]
    # bool first: in Python a bool is an int.
    if all(isinstance(value, bool) for value in present):
        return pd.Series(values, dtype="boolean")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        # One type for 1 and 1.0: a sampler may return either from the same axis.
        return pd.Series(values, dtype="Float64")
    if all(isinstance(value, str) for value in present):
        return pd.Series(values, dtype="string")
    texts = [None if value is None else json.dumps(value) for value in values]
    return pd.Series(texts, dtype="string")
