"""Who goes on, and what runs next: ASHA and its kin as pure functions of what trials showed.

Nothing is remembered between two questions: a search that is resumed, or has several drivers, reads
the records and decides as one that was never killed.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from search.strategy.asha import keeps_going
from search.strategy.config import LadderConfig
from search.strategy.observed import Observed
from search.strategy.population import gives_way
from search.strategy.ranking import scores

Verdict = Literal["go_on", "pause", "stop"]
MEDIAN_OF = 3
"""Others at a rung before their median stops a trial."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a free place of the cluster is used for."""

    number: int | None
    """Of the trial that goes on; None: a new one."""
    level: int
    """It trains until it has shown something there, and is judged again."""
    first: int
    """The trial's lowest level."""


def next_job(trials: Sequence[Observed], ladder: LadderConfig, *, may_start: bool) -> Job | None:
    """Returns what to do with a free place; None: nothing until a running trial reports, or ever.

    A promotion comes before a new trial, from the highest rung down. When no trial may start any
    more and none is left to promote, the best ones go on until one was trained to the end.

    Args:
        may_start: Whether the budget allows one more trial.
    """
    if ladder.decide == "promote" and (job := _promotion(trials, ladder)):
        return job
    if may_start:
        first = bracket_of_next(trials, ladder)
        return Job(number=None, level=first_goal(ladder, first=first), first=first)
    return _last_push(trials, ladder)


def verdict(
    trials: Sequence[Observed], ladder: LadderConfig, *, number: int, level: int
) -> Verdict:
    """Returns what becomes of a trial that has just shown its values at `level`.

    Args:
        trials: All of them; this one has its values at `level` already.
    """
    asked = next(one for one in trials if one.number == number)
    # What it shows above, where a report was lost, was not judged yet.
    values = {at: shown for at, shown in asked.values.items() if at <= level}
    trial = replace(asked, values=values)
    trials = [trial if one is asked else one for one in trials]
    if level >= ladder.top or level < trial.first or ladder.decide == "none":
        return "go_on"
    others = [t for t in _at(trials, level, trial.bracket) if t.number != number]
    *theirs, own = scores([t.values[level] for t in [*others, trial]])
    match ladder.decide:
        case "stop":
            return "go_on" if keeps_going(own, theirs, reduction=ladder.reduction) else "stop"
        case "median":
            is_low = len(theirs) >= MEDIAN_OF and not own >= statistics.median(theirs)
            return "stop" if is_low else "go_on"
        case "pbt":
            return "stop" if gives_way(own, theirs, reduction=ladder.reduction) else "go_on"
        case _:
            goes_on = trial in _promotable(trials, ladder, level=level, also=number)
            return "go_on" if goes_on else "pause"


def next_level(trial: Observed, ladder: LadderConfig) -> int:
    """Returns the level to which a trial goes on."""
    return first_goal(ladder, first=max(trial.highest + 1, trial.first))


def first_goal(ladder: LadderConfig, *, first: int) -> int:
    """Returns where a trial is judged next that may go on to level `first`."""
    is_by_steps = ladder.decide == "promote" or ladder.kind == "ladder"
    return min(first, ladder.top) if is_by_steps else ladder.top


def bracket_of_next(trials: Iterable[Observed], ladder: LadderConfig) -> int:
    """Returns the lowest level of a new trial: of the bracket that is farthest behind its share."""
    if ladder.brackets == 1:
        return 0
    there = [sum(t.first == b for t in trials) for b in range(ladder.brackets)]
    shares = bracket_shares(ladder)
    return min(range(ladder.brackets), key=lambda b: ((there[b] + 1) / shares[b], b))


def bracket_shares(ladder: LadderConfig) -> list[float]:
    """Returns the share of trials that begin in each bracket: as many as spend equally much.

    Hyperband's bracket with s halvings begins with (s_max + 1) / (s + 1) * reduction^s trials (Li
    et al. 2018, algorithm 1).
    """
    halvings = [ladder.top - b for b in range(ladder.brackets)]
    weights = [ladder.reduction**s / (s + 1) for s in halvings]
    return [weight / sum(weights) for weight in weights]


def highest_in_use(trials: Sequence[Observed], ladder: LadderConfig) -> int:
    """Returns the level above which no trial goes yet; the top one unless the ladder grows.

    It begins with two levels and takes one more while the two highest order the trials that reached
    both differently, by more than `tolerance` at each (PASHA's soft ranking).
    """
    if not ladder.growth:
        return ladder.top
    cap = min(1, ladder.top)
    while cap < ladder.top and _disagree(trials, cap, ladder.tolerance):
        cap += 1
    return cap


def _disagree(trials: Sequence[Observed], level: int, tolerance: float) -> bool:
    for bracket in {t.bracket for t in trials}:
        there = [t for t in _at(trials, level, bracket) if level - 1 in t.values]
        low = scores([t.values[level - 1] for t in there])
        high = scores([t.values[level] for t in there])
        for i, j in combinations(range(len(there)), 2):
            before, after = low[i] - low[j], high[i] - high[j]
            if before * after < 0 and min(abs(before), abs(after)) > tolerance:
                return True
    return False


def _promotion(trials: Sequence[Observed], ladder: LadderConfig) -> Job | None:
    for level in reversed(range(ladder.top)):
        if found := _promotable(trials, ladder, level=level, also=None):
            best = found[0]
            return Job(number=best.number, level=next_level(best, ladder), first=best.first)
    return None


def _promotable(
    trials: Sequence[Observed], ladder: LadderConfig, *, level: int, also: int | None
) -> list[Observed]:
    """Returns the paused trials among the best 1 / reduction of a rung, best first; none where
    that many went up.

    A sampler that learns makes its newest trials the best of their rung, and plain ASHA promotes
    nearly all of them, so a rung keeps to its share (D-ASHA, Li et al. 2022, arXiv:2201.06834).
    With several objectives it does not: a front wants more ends than one (RESULTS.md).

    Args:
        also: A running trial that is asked about as if it were paused.
    """
    if level >= highest_in_use(trials, ladder):
        return []
    found: list[tuple[float, Observed]] = []
    for members in _brackets(trials, level).values():
        ranked, places = _ranked(members, level), len(members) // ladder.reduction
        above = sum(max(t.goal, t.highest) > level and t.number != also for t in members)
        is_full = above >= places and len(members[0].values[level]) == 1
        found += [
            (score, trial)
            for score, trial in ranked[: 0 if is_full else places]
            if trial.highest == level and (trial.status == "paused" or trial.number == also)
        ]
    return [trial for _, trial in sorted(found, key=lambda one: (-one[0], one[1].number))]


def _last_push(trials: Sequence[Observed], ladder: LadderConfig) -> Job | None:
    if any(t.status in ("running", "completed") for t in trials) or ladder.decide != "promote":
        return None
    paused = [t for t in trials if t.status == "paused"]
    if not paused:
        return None
    level = max(t.highest for t in paused)
    _, best = _ranked([t for t in paused if t.highest == level], level)[0]
    return Job(number=best.number, level=next_level(best, ladder), first=best.first)


def _ranked(members: Sequence[Observed], level: int) -> list[tuple[float, Observed]]:
    """Returns the trials with their scores at a level, best first; ties go to the older one."""
    found = zip(scores([t.values[level] for t in members]), members, strict=True)
    return sorted(found, key=lambda one: (-one[0], one[1].number))


def _brackets(trials: Iterable[Observed], level: int) -> Mapping[str, list[Observed]]:
    found: dict[str, list[Observed]] = {}
    for trial in trials:
        if level in trial.values and level >= trial.first:
            found.setdefault(trial.bracket, []).append(trial)
    return found


def _at(trials: Iterable[Observed], level: int, bracket: str) -> list[Observed]:
    return _brackets(trials, level).get(bracket, [])
