"""What trials showed at their rungs, in a file that the workers of other trials read.

The ledger replaces it whenever a trial reports from a rung, so that a check that begins there knows
what its trial must reach. The cutoff of that moment decides, also where other trials move it before
the check is reported: a race that is lost is not judged anew.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from evaluation.config import RaceConfig
from evaluation.racing import Pending
from models.config import Config
from search.books.records import TrialRecord
from search.strategy.asha import find_cutoff
from search.strategy.config import LadderConfig
from trainers.atomic import write_atomically


class RungScores(Config):
    """The robust accuracy of each trial at each rung where it is judged."""

    scores: dict[int, dict[str, float]]
    """Epoch -> key of the trial -> fraction. The last epoch, which stops no trial, is no rung."""
    brackets: dict[str, str] = Field(default={})
    """Key of a trial -> its bracket, outside of which it is compared with none."""

    def of_others(self, epoch: int, *, key: str) -> list[float]:
        """Returns what other trials of its bracket than `key` showed."""
        at_rung, bracket = self.scores.get(epoch, {}), self.brackets.get(key)
        return [
            score
            for other, score in at_rung.items()
            if other != key and self.brackets.get(other) == bracket
        ]

    def is_judged(self, epoch: int, *, key: str) -> bool:
        """Whether the trial `key` was here before."""
        return key in self.scores.get(epoch, {})


class RungRace(Config):
    """How the worker of a trial learns what hangs on a check, as a part of its payload."""

    scores: str
    """File of the `RungScores`; absolute, on storage that every node sees."""
    reduction: int
    epochs_before: int
    """Epochs of the rungs below whose weights the training began with."""
    race: RaceConfig

    def pending(self, epoch: int, *, key: str) -> Pending | None:
        """Returns what the trial `key` must reach to go on; None if it goes on whatever it shows.

        It does as one of the first `reduction` - 1 at its rung, at the last epoch, and at a rung
        that it has passed: a damaged checkpoint may bring it there again.
        """
        epoch += self.epochs_before
        scores = read_rung_scores(Path(self.scores))
        if scores is None or scores.is_judged(epoch, key=key):
            return None
        cutoff = find_cutoff(scores.of_others(epoch, key=key), reduction=self.reduction)
        return None if cutoff is None else Pending(cutoff=cutoff, race=self.race)


def rung_scores(records: Iterable[TrialRecord], ladder: LadderConfig) -> RungScores:
    """Returns what `records` hold of the checks at the rungs."""
    scores: dict[int, dict[str, float]] = {rung: {} for rung in ladder.rungs}
    brackets: dict[str, str] = {}
    for record in records:
        brackets[record.key] = record.bracket
        for epoch, check in record.checks:
            level = ladder.level_of(epoch, epochs=record.config.epochs)
            if epoch in scores and level is not None and level >= record.first:
                scores[epoch][record.key] = check.robust.value
    return RungScores(scores=scores, brackets=brackets)


def write_rung_scores(path: Path, scores: RungScores) -> None:
    """Replaces the file at `path` atomically."""
    write_atomically(path, scores.model_dump_json())


def read_rung_scores(path: Path) -> RungScores | None:
    """Returns None where the search has not written it."""
    return RungScores.model_validate_json(path.read_text()) if path.exists() else None
