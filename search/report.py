"""The report of a search: one static page, with its pictures inside and beside it as PNG.

It works at any stage, from what lies in the folder; it needs neither Ray nor torch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from matplotlib.figure import Figure

from evaluation.result import EvaluationResult
from search.config import ExperimentConfig
from search.diagnosing import names_text
from search.folder import SearchFolder
from search.importance import axis_importance
from search.load import load_experiment
from search.page import Grid, Picture, render_page
from search.pictures import (
    count_examples,
    curves_figure,
    examples_figure,
    importance_figure,
    save_picture,
    scatter_figure,
)
from search.records import FullRun, Promoted, TrialRecord, read_promoted, read_records
from search.summary import cost_lines, headline
from search.table import rank_trials
from trainers.atomic import write_atomically
from trainers.metrics import Accuracy

MOST_ROWS = 15


def write_report(folder: SearchFolder) -> Path:
    """Writes `report/index.html` and its pictures anew, and returns the page's path."""
    experiment = load_experiment(folder.config, {})
    records = read_records(folder.trials)
    promoted = read_promoted(folder.promoted)
    page = render_page(
        f"Search {experiment.name}",
        headline=headline(promoted),
        summary=cost_lines(records, experiment),
        pictures=_draw_pictures(folder, experiment, records, promoted),
        grids=[_best_grid(records), _diagnosed_grid(records), _failed_grid(records)],
        commands=_commands(folder, experiment, promoted),
    )
    index = folder.report / "index.html"
    write_atomically(index, page)
    return index


def _draw_pictures(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    records: Sequence[TrialRecord],
    promoted: Sequence[Promoted],
) -> list[Picture]:
    evaluated = [(run, result) for run, result in promoted if result is not None]
    has_points = bool(evaluated) or any(record.checks for record in records)
    rungs = sorted({*experiment.ladder.rungs, experiment.base.epochs})
    importance = axis_importance(records, _study_trials(folder, experiment))
    pictures = [
        _picture(
            folder,
            "scatter",
            "Robust and clean accuracy with 95 % intervals. The select split chose among the "
            "trials, so the best of them looks better than it is; do not compare it with full "
            "runs.",
            lambda: scatter_figure(records, evaluated),
            missing="" if has_points else "no trial has been checked yet",
        ),
        _picture(
            folder,
            "curves",
            "Learning curves. Accuracies above and below come from different attacks and images.",
            lambda: curves_figure(records, rungs),
            missing="" if any(r.epochs for r in records) else "no epoch has finished yet",
        ),
        _picture(
            folder,
            "importance",
            "Importance of the axes: how far the best third of the trials lies from all trials "
            "along each. From few trials it is a hint, not a finding.",
            lambda: importance_figure(importance),
            missing=importance.reason,
        ),
    ]
    return pictures + [
        _examples(folder, run, result) for run, result in evaluated if run.trial_number is not None
    ]


def _picture(
    folder: SearchFolder, name: str, caption: str, draw: Callable[[], Figure], *, missing: str
) -> Picture:
    """Draws and saves a picture, unless something is missing for it."""
    path = folder.report / f"{name}.png"
    if missing:
        path.unlink(missing_ok=True)
        return Picture(name=name, caption=caption, png=None, missing=missing)
    save_picture(draw(), path)
    return Picture(name=name, caption=caption, png=path.read_bytes(), missing="")


def _examples(folder: SearchFolder, run: FullRun, result: EvaluationResult) -> Picture:
    path = folder.promoted / run.key / "examples.npz"
    return _picture(
        folder,
        f"examples_{run.key}",
        f"What the attack does to {run.key}: grey in the last row is no change.",
        lambda: examples_figure(
            path, run=run, attack=result.attack, classes=run.config.data.class_names
        ),
        missing="" if count_examples(path) else "the evaluation left no examples",
    )


def _study_trials(
    folder: SearchFolder, experiment: ExperimentConfig
) -> list[optuna.trial.FrozenTrial]:
    # SQLite would create the file that it does not find.
    if not folder.study.exists():
        return []
    storage = f"sqlite:///{folder.study}"
    return optuna.load_study(study_name=experiment.name, storage=storage).get_trials()


def _best_grid(records: Sequence[TrialRecord]) -> Grid:
    rows = [_best_row(record) for record in rank_trials(records)[:MOST_ROWS]]
    columns = (
        *("trial", "origin", "status", "epoch", "robust", "attack", "n", "clean"),
        *("checks / training", "diagnoses", "sample"),
    )
    return Grid(
        title="Best trials", columns=columns, rows=rows, empty="No trial has been checked yet."
    )


def _best_row(record: TrialRecord) -> tuple[str, ...]:
    epoch, check = record.checks[-1]
    return (
        record.key,
        record.origin,
        record.status,
        f"{epoch}/{record.config.epochs}",
        _interval_text(check.robust),
        check.robust.attack,
        str(check.robust.n),
        _interval_text(check.clean),
        "" if record.check_share is None else f"{100 * record.check_share:.1f} %",
        names_text(record.diagnoses),
        ", ".join(f"{path}={_value_text(value)}" for path, value in record.params.items()),
    )


def _diagnosed_grid(records: Sequence[TrialRecord]) -> Grid:
    rows = [
        (record.key, record.origin, record.status, one.name, one.reason)
        for record in records
        for one in record.diagnoses
    ]
    columns = ("trial", "origin", "status", "diagnosis", "reason")
    return Grid(title="Diagnosed trials", columns=columns, rows=rows, empty="None.")


def _failed_grid(records: Sequence[TrialRecord]) -> Grid:
    rows = [
        (record.key, record.origin, f"{record.epochs}/{record.config.epochs}", record.reason)
        for record in records
        if record.status == "failed"
    ]
    columns = ("trial", "origin", "epoch", "reason")
    return Grid(title="Failed trials", columns=columns, rows=rows, empty="None.")


def _interval_text(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{100 * accuracy.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _value_text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _commands(
    folder: SearchFolder, experiment: ExperimentConfig, promoted: Sequence[Promoted]
) -> list[str]:
    key = promoted[0][0].key if promoted else "KEY"
    return [
        f"rampart status {experiment.name}",
        f"rampart promote {experiment.name} --top {experiment.promotion.top_k + 1}",
        f"rampart evaluate {folder.promoted / key}",
        f"optuna-dashboard sqlite:///{folder.study}",
    ]
