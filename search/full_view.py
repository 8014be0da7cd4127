"""What a watcher of full runs sees: a line per finished epoch and per evaluated batch."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console

from search.folder import SearchFolder
from search.records import FullRun
from trainers.metrics import Progress


class FullRunView:
    """Prints what is new in the folders of full runs since the last look."""

    def __init__(self, folder: SearchFolder, runs: Sequence[FullRun], console: Console) -> None:
        """Says what is about to run."""
        self._folder = folder
        self._runs = runs
        self._console = console
        self._seen: dict[str, str] = {}

    def __enter__(self) -> "FullRunView":
        for run in self._runs:
            self._console.print(f"full run {run.key} ({run.origin}): {run.config.epochs} epochs")
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
            line = self._line(run)
            if line and self._seen.get(run.key) != line:
                self._seen[run.key] = line
                self._console.print(line)

    def _line(self, run: FullRun) -> str:
        root = self._folder.promoted / run.key
        if (root / "result.json").exists():
            return f"full run {run.key}: evaluated"
        if (root / "evaluated").exists():
            done, total = (root / "evaluated").read_text().split()
            return f"full run {run.key}: reference attack, {done} of {total} images"
        if (root / "progress.json").exists():
            progress = Progress.model_validate_json((root / "progress.json").read_text())
            return _epoch_line(run, progress)
        return ""


def _epoch_line(run: FullRun, progress: Progress) -> str:
    last = progress.history[-1]
    mean = sum(epoch.seconds for epoch in progress.history) / len(progress.history)
    left = mean * (run.config.epochs - last.epoch)
    return (
        f"full run {run.key}: epoch {last.epoch}/{run.config.epochs} "
        f"loss={last.train_loss:.3f} train_robust={last.train_robust_accuracy:.3f} "
        f"left={left:.0f}s"
    )
