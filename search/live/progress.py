"""Live progress of a search: a table on a terminal, one line per event everywhere else."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.books.diagnosing import names_text
from search.books.records import Promoted, TrialRecord
from search.config import ExperimentConfig
from search.live.time_left import estimate_seconds_left, trial_seconds_left
from search.live.trial_events import first_line, new_events
from search.promotion.full_view import full_runs_table
from search.results.table import rank_trials

MOST_FINISHED = 6
STYLES = {
    "completed": "green",
    "stopped": "yellow",
    "diagnosed": "magenta",
    "failed": "red",
    "running": "cyan",
    "paused": "blue",
}


class ProgressView:
    """Shows the records it is given: redraws a table on a terminal, or prints what is new."""

    def __init__(
        self,
        console: Console,
        *,
        total_trials: int | None,
        concurrent: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Shows nothing before the first records."""
        self._console = console
        self._total = total_trials
        self._concurrent = concurrent
        self._seen: dict[str, TrialRecord] = {}
        self._is_first = True
        self._clock = clock
        self._began = clock()
        self._live: Live | None = None
        # Replaced as a whole, never changed: the thread of `Live` reads it.
        self._shown: tuple[tuple[TrialRecord, ...], dict[str, float]] | None = None

    def __enter__(self) -> "ProgressView":
        if self._console.is_terminal:
            # Drawn anew at each refresh, so that the clocks run while nothing is reported.
            self._live = Live(
                console=self._console, refresh_per_second=2, get_renderable=self._draw
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, records: Sequence[TrialRecord]) -> None:
        """Shows what changed since the last call; each event is printed once."""
        if self._live:
            before, moved = self._shown or ((), {})
            self._shown = tuple(records), _moved_at(before, records, moved, now=self._clock())
            return
        if self._is_first:
            # A resumed search does not tell again what it told before.
            self._seen = {record.key: record for record in records if _is_old(record)}
            if self._seen:
                self._print(f"resuming with {_counts_text(list(self._seen.values()))}")
        self._is_first = False
        for record in records:
            for event in new_events(self._seen.get(record.key), record):
                self._print(event)
            self._seen[record.key] = record

    def _draw(self) -> RenderableType:
        if self._shown is None:
            return Text("")
        records, moved = self._shown
        now = self._clock()
        ages = {key: now - at for key, at in moved.items()}
        head = header(
            records,
            total_trials=self._total,
            concurrent=self._concurrent,
            elapsed_s=now - self._began,
            ages=ages,
        )
        return Group(head, trials_table(records, most_finished=MOST_FINISHED, ages=ages))

    def _print(self, event: str) -> None:
        # soft_wrap: the width of a terminal must not break a line that a program may read.
        clock = time.strftime("%H:%M:%S")
        self._console.print(f"{clock} {event}", markup=False, highlight=False, soft_wrap=True)


def status_table(
    records: Sequence[TrialRecord], experiment: ExperimentConfig, promoted: Sequence[Promoted]
) -> RenderableType:
    """Returns what is known of a search from disk alone.

    Args:
        promoted: Full runs; of one that is running, `progress` holds the epochs done so far.
    """
    total, concurrent = experiment.budget.trials, experiment.resources.concurrent_trials
    parts: list[RenderableType] = [
        Text(f"search {experiment.name}", style="bold"),
        header(records, total_trials=total, concurrent=concurrent, elapsed_s=None, ages={}),
    ]
    if records:
        parts.append(trials_table(records, most_finished=len(records), ages={}))
    else:
        parts.append(Text("No trial has begun."))
    if promoted:
        parts += [Text(""), full_runs_table(promoted)]
    runs = [run for run, _ in promoted]
    if records and all(one.status != "running" for one in [*records, *runs]):
        parts.append(Text("No trial is running.", style="dim"))
    return Group(*parts)


def header(
    records: Sequence[TrialRecord],
    *,
    total_trials: int | None,
    concurrent: int,
    elapsed_s: float | None,
    ages: Mapping[str, float],
) -> Text:
    """Returns the first lines: how far, how good, how long."""
    running = sum(record.status == "running" for record in records)
    states = f" ({_counts_text(records)})" if records else ""
    parts = [f"{len(records)}{_of(total_trials)} trials begun{states}"]
    if elapsed_s is not None:
        parts.append(f"elapsed {duration(elapsed_s)}")
    left = estimate_seconds_left(records, total_trials, concurrent, ages=ages)
    if running and left is not None:
        parts.append(f"about {duration(left)} left")
    return Text(", ".join(parts) + "\n" + _best_line(records))


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total}"


def trials_table(
    records: Sequence[TrialRecord], *, most_finished: int, ages: Mapping[str, float]
) -> Table:
    """Returns the running trials, then the latest finished ones; `train`: accuracy in training."""
    running = [record for record in records if record.status == "running"]
    finished = sorted(
        (record for record in records if record.status != "running"),
        key=lambda record: record.finished_at or 0.0,
        reverse=True,
    )
    attacks = sorted({f"{c.robust.attack}, n={c.robust.n}" for r in records for _, c in r.checks})
    caption = (
        f"robust: early check at the epoch after @ ({'; '.join(attacks)})" if attacks else None
    )
    table = Table(
        box=None, padding=(0, 2, 0, 0), header_style="bold", caption=caption, caption_justify="left"
    )
    rows = [
        _cells(record, ages.get(record.key, 0.0))
        for record in [*running, *finished[:most_finished]]
    ]
    for index, name in enumerate(("trial", "origin", "status", "epoch", "robust", "train")):
        # On a narrow terminal only the last column gives way.
        widest = max([len(name), *(len(row[index]) for row in rows)])
        table.add_column(name, no_wrap=True, min_width=widest)
    table.add_column("left, or why", overflow="ellipsis", no_wrap=True, ratio=1, min_width=12)
    for row in rows:
        table.add_row(*row)
    return table


def duration(seconds: float) -> str:
    """Returns `1:02:03`, or `2:03` under an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _moved_at(
    before: Sequence[TrialRecord],
    after: Sequence[TrialRecord],
    moved: Mapping[str, float],
    *,
    now: float,
) -> dict[str, float]:
    """Returns, per key, when the trial last began a session or ended an epoch."""
    known = {record.key: (record.sessions, record.epochs) for record in before}
    return {
        record.key: moved[record.key]
        if known.get(record.key) == (record.sessions, record.epochs)
        else now
        for record in after
    }


def _is_old(record: TrialRecord) -> bool:
    return record.status != "running" or record.epochs > 0


def _counts_text(records: Sequence[TrialRecord]) -> str:
    counts = Counter(record.status for record in records)
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))


def _best_line(records: Sequence[TrialRecord]) -> str:
    ranked = rank_trials(records)
    if not ranked:
        return "best so far: no check yet"
    best = ranked[0]
    epoch, check = best.checks[-1]
    low, high = check.robust.interval
    return (
        f"best so far: {best.key} ({best.origin}), robust {check.robust.value:.3f} "
        f"[{low:.3f}, {high:.3f}] at epoch {epoch} ({check.robust.attack}, n={check.robust.n})"
    )


def _cells(record: TrialRecord, age_s: float) -> list[Text]:
    history = record.progress.history if record.progress else ()
    checked = ""
    if record.checks:
        epoch, check = record.checks[-1]
        checked = f"{check.robust.value:.3f} @ {epoch}"
    note = first_line(record.reason)
    if record.status == "running":
        left = trial_seconds_left(record, age_s=age_s)
        note = "starting" if left is None else duration(left)
    if flags := [one for one in record.diagnoses if not one.ends_trial]:
        note = ", ".join(filter(None, [note, f"flagged: {names_text(flags)}"]))
    # Text, not str: a reason may hold brackets, which rich would read as markup.
    return [
        Text(record.key),
        Text(record.origin),
        Text(record.status, style=STYLES[record.status]),
        Text(f"{record.epochs}/{record.config.epochs}"),
        Text(checked),
        Text(f"{history[-1].train_accuracy:.3f}" if history else ""),
        Text(note),
    ]
