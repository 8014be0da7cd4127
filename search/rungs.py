"""What trials showed at their rungs, in a file that the workers of other trials read.

The ledger replaces it whenever a trial reports from a rung, so that a check that begins there knows
what its trial must reach. The cutoff of that moment decides, also where other trials move it before
the check is reported: a race that is lost is not judged anew.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from evaluation.config import RaceConfig
from evaluation.racing import Pending
from models.config import Config
from search.asha import find_cutoff
from search.records import TrialRecord
from trainers.atomic import write_atomically


class RungScores(Config):
    """The robust accuracy of each trial at each rung."""

    scores: dict[int, dict[str, float]]
    """Epoch -> key of the trial -> fraction. The last epoch, which stops no trial, is no rung."""

    def of_others(self, epoch: int, *, key: str) -> list[float]:
        """Returns what other trials than `key` showed."""
        at_rung = self.scores.get(epoch, {})
        return [score for other, score in at_rung.items() if other != key]

    def is_judged(self, epoch: int, *, key: str) -> bool:
        """Whether the trial `key` was here before."""
        return key in self.scores.get(epoch, {})


class RungRace(Config):
    """How the worker of a trial learns what hangs on a check, as a part of its payload."""

    scores: str
    """File of the `RungScores`; absolute, on storage that every node sees."""
    reduction: int
    race: RaceConfig

    def pending(self, epoch: int, *, key: str) -> Pending | None:
        """Returns what the trial `key` must reach to go on; None if it goes on whatever it shows.

        It does as one of the first `reduction` - 1 at its rung, at the last epoch, and at a rung
        that it has passed: a damaged checkpoint may bring it there again.
        """
        scores = read_rung_scores(Path(self.scores))
        if scores is None or scores.is_judged(epoch, key=key):
            return None
        cutoff = find_cutoff(scores.of_others(epoch, key=key), reduction=self.reduction)
        return None if cutoff is None else Pending(cutoff=cutoff, race=self.race)


def rung_scores(records: Iterable[TrialRecord], *, rungs: Collection[int]) -> RungScores:
    """Returns what `records` hold of the checks at `rungs`."""
    scores: dict[int, dict[str, float]] = {rung: {} for rung in rungs}
    for record in records:
        for epoch, check in record.checks:
            if epoch in scores:
                scores[epoch][record.key] = check.robust.value
    return RungScores(scores=scores)


def write_rung_scores(path: Path, scores: RungScores) -> None:
    """Replaces the file at `path` atomically."""
    write_atomically(path, scores.model_dump_json())


def read_rung_scores(path: Path) -> RungScores | None:
    """Returns None where the search has not written it."""
    return RungScores.model_validate_json(path.read_text()) if path.exists() else None
