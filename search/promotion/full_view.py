"""What a watcher of full runs sees: a line per finished epoch and evaluated batch, or a table."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evaluation.result import EvaluationResult
from search.books.records import FullRun, Promoted
from search.live.trial_events import first_line
from trainers.metrics import Accuracy, Progress


class FullRunView:
    """Prints what is new in the folders of full runs since the last look."""

    def __init__(
        self,
        root: Path,
        runs: Sequence[FullRun],
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Says nothing yet; `with` announces the runs. `root` holds a folder for each."""
        self._root = root
        self._runs = runs
        self._console = console
        self._clock = clock
        self._seen: dict[str, str] = {}
        # Key -> images done, and the time, at the first look after training.
        self._attack_began: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> "FullRunView":
        for run in self._runs:
            name = run_name(run)
            self._console.print(f"{name} ({run.origin}): {run.config.epochs} epochs")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.refresh()

    def refresh(self) -> None:
        """Prints one line for each run that moved."""
        for run in self._runs:
            line, left = self._news(run)
            if line and self._seen.get(run.key) != line:
                self._seen[run.key] = line
                # soft_wrap: a terminal's width must not break a line that a program may read.
                self._console.print(line + left, soft_wrap=True)

    def _news(self, run: FullRun) -> tuple[str, str]:
        """Returns what is known of a run, and the time left, whose change alone is no news."""
        root = self._root / run.key
        if (root / "result.json").exists():
            return f"{run_name(run)}: evaluated", ""
        if (root / "evaluated").exists():
            done, total = map(int, (root / "evaluated").read_text().split())
            line = f"{run_name(run)}: reference attack, {done} of {total} images"
            return line, self._attack_left(run.key, done, total)
        if (root / "progress.json").exists():
            progress = Progress.model_validate_json((root / "progress.json").read_text())
            if progress.history[-1].epoch == run.config.epochs:
                self._attack_began.setdefault(run.key, (0, self._clock()))
            return _epoch_line(run, progress), ""
        return "", ""

    def _attack_left(self, key: str, done: int, total: int) -> str:
        now = self._clock()
        done_before, began = self._attack_began.setdefault(key, (done, now))
        if done <= done_before or done == total:
            return ""
        return f", left about {(total - done) * (now - began) / (done - done_before):.0f} s"


def run_name(run: FullRun) -> str:
    """Returns for example `full run t00003` or `stage 1 of t00003`."""
    return f"full run {run.key}" if run.stage is None else f"stage {run.stage} of {run.key}"


def full_runs_table(promoted: Sequence[Promoted]) -> Table:
    """Returns a row per run; an accuracy comes with its 95 % interval, attack and n."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("full run", "origin", "status", "epoch"):
        table.add_column(name, no_wrap=True)
    for name in ("clean", "robust, or why not"):
        table.add_column(name, overflow="fold")
    for run, result in promoted:
        # Text, not str: a reason may hold brackets, which rich would read as markup.
        name = run.key if run.stage is None else run_name(run)
        cells = [name, run.origin, run.status, f"{_epochs(run)}/{run.config.epochs}"]
        cells += [_accuracy_text(result.clean) if result else "", _robust_text(run, result)]
        table.add_row(*map(Text, cells))
    return table


def _epochs(run: FullRun) -> int:
    return run.progress.history[-1].epoch if run.progress and run.progress.history else 0


def _robust_text(run: FullRun, result: EvaluationResult | None) -> str:
    if result is not None:
        return _accuracy_text(result.robust)
    return first_line(run.reason) or ("not evaluated yet" if run.stage is None else "")


def _accuracy_text(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    attack = f"{accuracy.attack}, n={accuracy.n}"
    return f"{accuracy.value:.3f} [{low:.3f}, {high:.3f}] ({attack})"


def _epoch_line(run: FullRun, progress: Progress) -> str:
    last = progress.history[-1]
    mean = sum(epoch.seconds for epoch in progress.history) / len(progress.history)
    left = mean * (run.config.epochs - last.epoch)
    return (
        f"{run_name(run)}: epoch {last.epoch}/{run.config.epochs} "
        f"loss={last.train_loss:.3f} train_acc={last.train_accuracy:.3f} "
        f"left={left:.0f}s"
    )
