"""The records of a search as one driver knows them: read again where another has written."""

from pathlib import Path

from search.books.records import TrialRecord, read_record, write_record
from search.books.rungs import RungScores, rung_scores, write_rung_scores
from search.folder import SearchFolder
from search.strategy.config import LadderConfig


class RecordBook:
    """Used within `search.books.drivers.books`, or two drivers would overwrite each other."""

    def __init__(self, folder: SearchFolder, ladder: LadderConfig) -> None:
        """Knows nothing yet."""
        self.by_key: dict[str, TrialRecord] = {}
        self._folder, self._ladder = folder, ladder
        self._seen: dict[str, tuple[int, ...]] = {}
        self._scores: RungScores | None = None

    def refresh(self) -> None:
        """Reads what other drivers have written since."""
        for path in self._folder.trials.glob("*/record.json"):
            file = _identity(path)
            if self._seen.get(path.parent.name) != file:
                self.by_key[path.parent.name] = read_record(path)
                self._seen[path.parent.name] = file
        self._share_scores()

    def write(self, record: TrialRecord) -> None:
        """Replaces the file of a record, and what workers of other trials read of it."""
        path = self._folder.record(record.key)
        write_record(path, record)
        self.by_key[record.key], self._seen[record.key] = record, _identity(path)
        self._share_scores()

    def _share_scores(self) -> None:
        scores = rung_scores(self.by_key.values(), self._ladder)
        if scores != self._scores:
            self._scores = scores
            write_rung_scores(self._folder.rung_scores, scores)


def _identity(path: Path) -> tuple[int, ...]:
    """Returns what changes when a file is replaced, also within one tick of its clock."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
