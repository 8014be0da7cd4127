"""What a trial takes on average under a ladder, from the shares of trials that reach each rung."""

from dataclasses import dataclass

from search.books.fidelity import rung_overrides
from search.overrides import with_overrides
from search.space.constraints import measure
from search.strategy.config import LadderConfig
from search.strategy.ladder import bracket_shares
from trainers.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Climb:
    """Means over many trials."""

    epochs: float
    """Of training, each counted as one of the trial's own: by its multiply-adds where the epochs of
    lower rungs are cheaper."""
    checks: float
    sessions: float
    """Processes that it takes: one for each rung that it pauses at, and one more."""


def expected_climb(trial: TrialConfig, ladder: LadderConfig) -> Climb:
    """Returns what trials like `trial` take where 1 / reduction of them go on from each rung.

    That is the long run: the first trials at a rung go on whatever they show (`stop`), or wait for
    others (`promote`). With `median` one half goes on, with `none` all do, and in a population
    (`pbt`) a copy goes on for whoever gives way. A ladder that grows takes less, for it ends below
    its top.
    """
    by_bracket = zip(bracket_shares(ladder), range(ladder.brackets), strict=True)
    climbs = [(share, _of_bracket(trial, ladder, first)) for share, first in by_bracket]
    return Climb(
        epochs=sum(share * climb.epochs for share, climb in climbs),
        checks=sum(share * climb.checks for share, climb in climbs),
        sessions=sum(share * climb.sessions for share, climb in climbs),
    )


def whole_climb(trial: TrialConfig, ladder: LadderConfig) -> Climb:
    """Returns what a trial takes that goes on from every rung."""
    return _sum_over(trial, ladder, first=0, shares=[1.0] * (ladder.top + 1))


def _of_bracket(trial: TrialConfig, ladder: LadderConfig, first: int) -> Climb:
    odds = {"none": 1.0, "pbt": 1.0, "median": 0.5}.get(ladder.decide, 1 / ladder.reduction)
    shares = [odds ** max(0, level - first) for level in range(ladder.top + 1)]
    return _sum_over(trial, ladder, first=first, shares=shares)


def _sum_over(
    trial: TrialConfig, ladder: LadderConfig, *, first: int, shares: list[float]
) -> Climb:
    """Adds up the levels; those below `first` are trained, but not judged, or left out."""
    begun = 0 if ladder.kind == "asha" else first
    levels = range(begun, ladder.top + 1)
    ends = [ladder.epoch_of(level, epochs=trial.epochs) for level in levels]
    is_continued = ladder.kind == "asha" or ladder.survivors == "continue"
    starts = [0, *ends[:-1]] if is_continued else [0] * len(ends)
    pauses = ladder.decide == "promote" or ladder.kind == "ladder"
    return Climb(
        epochs=sum(
            shares[level] * (end - start) * _epoch_share(trial, ladder, level)
            for level, start, end in zip(levels, starts, ends, strict=True)
        ),
        checks=sum(shares[level] for level in levels),
        sessions=sum(shares[first:]) if pauses else 1.0,
    )


def _epoch_share(trial: TrialConfig, ladder: LadderConfig, level: int) -> float:
    """Returns the cost of an epoch on a level over that of the trial's own; of one image, where
    nobody knows how many there are."""
    changes = rung_overrides(ladder, level=level)
    if not ladder.grow or not changes:
        return 1.0
    there = with_overrides(trial, changes)
    of_rung, own = measure(there), measure(trial)
    if "train_cost" in of_rung and "train_cost" in own:
        return (of_rung["train_cost"] / there.epochs) / (own["train_cost"] / trial.epochs)
    return of_rung["train_gmacs"] / own["train_gmacs"]
