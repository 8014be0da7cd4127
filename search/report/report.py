"""The report of a search: one static page, with its pictures inside and beside it as PNG.

It works at any stage, from what lies in the folder; it needs neither Ray nor torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from evaluation.result import EvaluationResult
from search.books.records import FullRun, Promoted, TrialRecord, read_promoted, read_records
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.load import load_experiment
from search.places import name_of
from search.promotion.lineage import read_stages
from search.report.grids import (
    agreement_grid,
    best_grid,
    diagnosed_grid,
    expenses_grid,
    failed_grid,
    survival_grid,
)
from search.report.page import Picture, render_page
from search.report.pictures import (
    count_examples,
    curves_figure,
    examples_figure,
    importance_figure,
    save_picture,
    scatter_figure,
)
from search.report.pictures_rungs import expenses_figure, rungs_figure
from search.results.budget_spent import Expense, device_name, expenses, read_reference_seconds
from search.results.importance import Method, axis_importance
from search.results.summary import cost_lines, headline
from search.results.table import write_tables
from search.results.trust import (
    Agreement,
    Passage,
    agreements,
    all_rungs,
    rung_survival,
    trust_lines,
)
from trainers.atomic import write_atomically


@dataclass(frozen=True, kw_only=True)
class _Search:
    """What lies in the folder, and what follows from it."""

    folder: SearchFolder
    experiment: ExperimentConfig
    records: Sequence[TrialRecord]
    promoted: Sequence[Promoted]
    rungs: Sequence[int]
    """Epochs, the last one included."""
    passages: Sequence[Passage]
    agreements: Sequence[Agreement]
    expenses: Sequence[Expense]
    device: str


def write_report(folder: SearchFolder) -> Path:
    """Writes the tables, `report/index.html` and its pictures anew; returns the page's path."""
    found = _read(folder)
    write_tables(folder, found.records)
    page = render_page(
        f"Search {found.experiment.name}",
        headline=headline(found.promoted),
        summary=cost_lines(found.records, found.experiment),
        trust=trust_lines(found.records, found.promoted, rungs=found.rungs),
        pictures=_draw_pictures(found),
        grids=[
            best_grid(found.records),
            survival_grid(found.passages),
            agreement_grid(found.agreements),
            expenses_grid(found.expenses, device=found.device),
            diagnosed_grid(found.records),
            failed_grid(found.records),
        ],
        commands=_commands(folder, found.experiment, found.promoted),
    )
    index = folder.report / "index.html"
    write_atomically(index, page)
    return index


def _read(folder: SearchFolder) -> _Search:
    experiment = load_experiment(folder.config, {})
    records, promoted = read_records(folder.trials), read_promoted(folder.promoted)
    rungs = all_rungs(experiment)
    workers = experiment.resources
    reference_seconds = read_reference_seconds(folder)
    trained = [*read_stages(folder), *promoted]
    return _Search(
        folder=folder,
        experiment=experiment,
        records=records,
        promoted=promoted,
        rungs=rungs,
        passages=rung_survival(records, rungs=rungs),
        agreements=agreements(records, promoted, rungs=rungs),
        expenses=expenses(records, trained, reference_seconds=reference_seconds, workers=workers),
        device=device_name(workers),
    )


def _draw_pictures(found: _Search) -> list[Picture]:
    folder, records, promoted = found.folder, found.records, found.promoted
    evaluated = [(run, result) for run, result in promoted if result is not None]
    has_points = bool(evaluated) or any(record.checks for record in records)
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
            lambda: curves_figure(records, found.rungs),
            missing="" if any(r.epochs for r in records) else "no epoch has finished yet",
        ),
        _picture(
            folder,
            "rungs",
            "Above: of the trials that were checked at a rung, how many went on. Below: whether "
            "two fidelities order the trials that have been at both alike.",
            lambda: rungs_figure(found.passages, found.agreements),
            missing="" if any(r.checks for r in records) else "no trial has been checked yet",
        ),
        _picture(
            folder,
            "budget",
            "What the budget went into, by the origin of the runs.",
            lambda: expenses_figure(found.expenses, device=found.device),
            missing="" if found.expenses else "nothing was spent yet",
        ),
        _importance(found, "importance", "PED-ANOVA"),
        _importance(found, "importance_fanova", "fANOVA"),
    ]
    return pictures + [
        _examples(folder, run, result) for run, result in evaluated if run.trial_number is not None
    ]


def _importance(found: _Search, name: str, method: Method) -> Picture:
    first, *others = found.experiment.objectives
    asked = {
        "PED-ANOVA": "how far the best third of the trials lies from all trials along each",
        "fANOVA": "the share of the spread among trials that each explains alone",
    }[method]
    chosen = f" It is that for {first}, the first of several objectives." if others else ""
    importance = axis_importance(
        found.records, found.experiment.space, objective=first, method=method
    )
    return _picture(
        found.folder,
        name,
        f"Importance of the axes by {method}: {asked}. From few trials it is a hint, not a "
        f"finding.{chosen}",
        lambda: importance_figure(importance),
        missing=importance.reason,
    )


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


def _commands(
    folder: SearchFolder, experiment: ExperimentConfig, promoted: Sequence[Promoted]
) -> list[str]:
    key, name = promoted[0][0].key if promoted else "KEY", name_of(folder)
    return [
        f"rampart status {name}",
        f"rampart promote {name} --top {experiment.promotion.top_k + 1}",
        f"rampart evaluate {folder.promoted / key}",
        f"rampart dashboard {name}",
    ]
