"""The tables of a report."""

from collections.abc import Sequence

from search.books.diagnosing import names_text
from search.books.records import TrialRecord
from search.report.page import Grid
from search.results.budget_spent import Expense
from search.results.table import rank_trials
from search.results.trust import FATES, Agreement, Passage
from trainers.metrics import Accuracy

MOST_ROWS = 15


def best_grid(records: Sequence[TrialRecord]) -> Grid:
    """The best trials, with what they showed at the highest rung they reached."""
    rows = [_best_row(record) for record in rank_trials(records)[:MOST_ROWS]]
    columns = (
        *("trial", "origin", "status", "epoch", "robust", "attack", "n", "clean"),
        *("checks / training", "diagnoses", "sample"),
    )
    return Grid(
        title="Best trials", columns=columns, rows=rows, empty="No trial has been checked yet."
    )


def diagnosed_grid(records: Sequence[TrialRecord]) -> Grid:
    """What was diagnosed, a row per diagnosis."""
    rows = [
        (record.key, record.origin, record.status, one.name, one.reason)
        for record in records
        for one in record.diagnoses
    ]
    columns = ("trial", "origin", "status", "diagnosis", "reason")
    return Grid(title="Diagnosed trials", columns=columns, rows=rows, empty="None.")


def failed_grid(records: Sequence[TrialRecord]) -> Grid:
    """What failed, and why."""
    rows = [
        (record.key, record.origin, f"{record.epochs}/{record.config.epochs}", record.reason)
        for record in records
        if record.status == "failed"
    ]
    columns = ("trial", "origin", "epoch", "reason")
    return Grid(title="Failed trials", columns=columns, rows=rows, empty="None.")


def survival_grid(passages: Sequence[Passage]) -> Grid:
    """What became of the trials at each rung."""
    shown = [fate for fate in FATES if any(one.fates.get(fate) for one in passages)]
    rows = [
        (
            f"epoch {one.epoch}" if one.epoch else "began",
            str(one.reached),
            *(_share_text(one.fates.get(fate, 0), one.reached) for fate in shown),
        )
        for one in passages
    ]
    has_trials = any(one.reached for one in passages)
    return Grid(
        title="Rung survival",
        columns=("rung", "reached", *shown),
        rows=rows if has_trials else (),
        empty="No trial has begun.",
    )


def agreement_grid(agreements: Sequence[Agreement]) -> Grid:
    """Kendall's tau of each pair of fidelities."""
    rows = [
        (
            f"{one.lower} and {one.upper}",
            str(one.n),
            "" if one.tau is None else f"{one.tau:.2f}",
            "" if one.interval is None else f"[{one.interval[0]:.2f}, {one.interval[1]:.2f}]",
        )
        for one in agreements
    ]
    return Grid(
        title="Do rungs and full runs order trials alike?",
        columns=("of the trials at both", "n", "Kendall tau-b", "95 % interval"),
        rows=rows,
        empty="There is one fidelity only.",
    )


def expenses_grid(expenses: Sequence[Expense], *, device: str) -> Grid:
    """Device-hours by what they went into and where the runs came from."""
    hours = {(one.what, one.origin): one.device_hours for one in expenses}
    origins = sorted({one.origin for one in expenses})
    total = sum(hours.values())
    rows: list[tuple[str, ...]] = []
    for what in dict.fromkeys(one.what for one in expenses):
        of_what = [hours.get((what, origin), 0.0) for origin in origins]
        shares = (f"{sum(of_what):.3g}", f"{100 * sum(of_what) / total:.1f} %")
        rows.append((what, *shares, *(f"{each:.3g}" if each else "" for each in of_what)))
    return Grid(
        title="What the budget went into",
        columns=("", f"{device}-hours", "share", *origins),
        rows=rows,
        empty="Nothing was spent yet.",
    )


def value_text(value: object) -> str:
    """Returns a value of a sample, a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
        ", ".join(f"{path}={value_text(value)}" for path, value in record.params.items()),
    )


def _interval_text(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    return f"{100 * accuracy.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _share_text(count: int, of: int) -> str:
    return f"{count} ({100 * count / of:.0f} %)" if count else ""
