"""Where things lie in the folder of a search, `RUNS_DIR/NAME/`. Nothing here reads or writes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SearchFolder:
    """Paths of one search; `root` is absolute."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.root / "config.yaml"

    @property
    def study(self) -> Path:
        """The Optuna study, SQLite."""
        return self.root / "study.db"

    @property
    def trials(self) -> Path:
        """One folder per trial, named by its key: record.json and checkpoint/."""
        return self.root / "trials"

    @property
    def rung_scores(self) -> Path:
        """What trials showed at their rungs, for workers of others (`search/books/rungs.py`)."""
        return self.root / "rungs.json"

    @property
    def sittings(self) -> Path:
        """What each process that worked on the search took; see `search/books/spending.py`."""
        return self.root / "sittings"

    @property
    def promoted(self) -> Path:
        """One folder per full run: record.json, checkpoint/, result.json, model_card.md."""
        return self.root / "promoted"

    @property
    def clean_starts(self) -> Path:
        """One folder per clean training that trials share; see `trainers/clean_start.py`."""
        return self.root / "clean"

    @property
    def manifests(self) -> Path:
        """Lists of the images that trials train on and are ranked by, HASH-SPLIT.json."""
        return self.root / "manifests"

    @property
    def report(self) -> Path:
        """report/index.html and its pictures."""
        return self.root / "report"

    @property
    def ray(self) -> Path:
        """Files of Ray's own; nothing here is read again."""
        return self.root / ".ray"

    def table(self, suffix: str) -> Path:
        """The results table: `trials.parquet` or `trials.csv`."""
        return self.root / f"trials.{suffix}"

    def record(self, key: str) -> Path:
        """The record of a trial."""
        return self.trials / key / "record.json"
