"""Tables beside that of trials: a row per trial and rung, and a row per full run with its rungs."""

from collections.abc import Mapping, Sequence

import pandas as pd

from evaluation.result import EvaluationResult
from search.books.records import FullRun, Promoted, TrialRecord
from search.results.frame import (
    accuracy_cells,
    accuracy_columns,
    typed_frame,
    unseen_cells,
    unseen_columns,
)
from trainers.metrics import Check, EpochMetrics

RUNG_COLUMNS = {
    "key": "string",
    "number": "Int64",
    "origin": "string",
    "status": "string",
    "bracket": "string",
    "epoch": "Int64",
    "fate": "string",
    **accuracy_columns("clean"),
    **accuracy_columns("robust"),
    "raw_robust_accuracy": "Float64",
    "missed": "Float64",
    "train_loss": "Float64",
    "train_accuracy": "Float64",
    "train_seconds": "Float64",
    "check_seconds": "Float64",
    "config_hash": "string",
}
"""`fate`: see `fate_at`. `missed`: of a check that ended early, what was out of reach.
`train_seconds`: of the trial up to this rung; `check_seconds`: of this rung alone."""

FULL_RUN_COLUMNS = {
    "key": "string",
    "recipe": "string",
    "repeat": "Int64",
    "trial_number": "Int64",
    "origin": "string",
    "status": "string",
    "reason": "string",
    "epochs": "Int64",
    "seed": "Int64",
    "split": "string",
    **accuracy_columns("clean"),
    **accuracy_columns("robust"),
    "train_seconds": "Float64",
    "data_hash": "string",
    "config_hash": "string",
    "trial_config_hash": "string",
    "commit": "string",
    "hardware": "string",
}
"""`recipe`: key of the trial, or `default`; repetitions of a run share it. Accuracies are those of
the reference attack."""


def fate_at(record: TrialRecord, epoch: int) -> str:
    """Returns what became of a trial after its check at `epoch`; 0 stands for its beginning.

    `went on`: it was checked at a later rung. Else its status: `running` is on its way there, or is
    about to be judged.
    """
    went_on = any(later > epoch for later, _ in record.checks)
    return "went on" if went_on else record.status


def rungs_frame(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Returns a row for each rung that each trial reached, by trial, then epoch."""
    rows = [row for record in records for row in _rung_rows(record)]
    unseen = unseen_columns(check for record in records for _, check in record.checks)
    return typed_frame(rows, RUNG_COLUMNS | unseen)


def full_runs_frame(promoted: Sequence[Promoted], records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Returns a row per full run, with what its trial showed at each rung.

    For each epoch E at which one of their trials was checked, the columns
    `rung_E_robust_accuracy`, `_attack`, `_n`, `_low` and `_high` hold its early check.
    """
    checks: dict[int | None, dict[int, Check]] = {r.number: dict(r.checks) for r in records}
    of_trials = [checks.get(run.trial_number, {}) for run, _ in promoted]
    rungs = sorted({epoch for known in of_trials for epoch in known})
    columns = dict(FULL_RUN_COLUMNS)
    for epoch in rungs:
        columns |= accuracy_columns(_prefix(epoch))
    rows = [
        _full_row(run, result) | _rung_cells(known)
        for (run, result), known in zip(promoted, of_trials, strict=True)
    ]
    return typed_frame(rows, columns)


def _rung_rows(record: TrialRecord) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    own = dict(record.own_checks)
    trained = 0.0
    for before, progress in record.trainings:
        trained += progress.clean_seconds
        for metrics in progress.history:
            trained += metrics.seconds
            if metrics.check is not None and before + metrics.epoch in own:
                row = _rung_row(record, before + metrics.epoch, metrics, metrics.check)
                rows.append(row | {"train_seconds": trained})
    return rows


def _rung_row(
    record: TrialRecord, epoch: int, metrics: EpochMetrics, check: Check
) -> dict[str, object]:
    of_trial = ("key", "number", "origin", "status", "bracket", "config_hash")
    of_epoch = ("train_loss", "train_accuracy", "check_seconds")
    raw = metrics.raw_check
    return {
        **{name: getattr(record, name) for name in of_trial},
        **{name: getattr(metrics, name) for name in of_epoch},
        **accuracy_cells("clean", check.clean),
        **accuracy_cells("robust", check.robust),
        **unseen_cells(check),
        "epoch": epoch,
        "fate": fate_at(record, epoch),
        "raw_robust_accuracy": raw.robust.value if raw else None,
        "missed": check.missed,
    }


def _full_row(run: FullRun, result: EvaluationResult | None) -> dict[str, object]:
    same = ("key", "recipe", "repeat", "trial_number", "origin", "status", "reason")
    lineage = ("config_hash", "trial_config_hash", "commit", "hardware")
    row: dict[str, object] = {name: getattr(run, name) for name in (*same, *lineage)}
    row |= {"epochs": run.config.epochs, "seed": run.config.seed}
    row |= {"train_seconds": run.train_seconds}
    if result:
        row |= {"split": result.split, "data_hash": result.data_hash}
        row |= accuracy_cells("clean", result.clean) | accuracy_cells("robust", result.robust)
    return row


def _rung_cells(checks: Mapping[int, Check]) -> dict[str, object]:
    cells: dict[str, object] = {}
    for epoch, check in checks.items():
        cells |= accuracy_cells(_prefix(epoch), check.robust)
    return cells


def _prefix(epoch: int) -> str:
    return f"rung_{epoch}_robust"
