"""Races: how many images tell whether a model reaches a cutoff.

The images are a fixed list in random order, looked at after planned blocks. Each look tests with
the exact distribution of draws without replacement, and the looks share `alpha`: over all of them,
at most `alpha` of the races give a wrong answer, also where the cutoff moves between looks. A list
whose order is balanced over classes varies less, so that its races err less. Looks at every image
(Waudby-Smith and Ramdas 2020, arXiv:2006.04347) would take about twice as many images.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation.config import RaceConfig

Verdict = Literal["above", "below"]
"""At the cutoff or above it, or below it."""


@dataclass(frozen=True, kw_only=True)
class Pending:
    """The decision that a check is made for: whether a model reaches a cutoff."""

    cutoff: float
    """Robust accuracy, a fraction."""
    race: RaceConfig


def blocks(total: int, *, first: int) -> tuple[int, ...]:
    """Returns after how many images to look: `first`, then doubling, at last all `total`.

    Raises:
        ValueError: If `first` is not between 1 and `total`.
    """
    if not 1 <= first <= total:
        raise ValueError(f"first ({first}) must be between 1 and the number of images ({total})")
    doublings = range(((total - 1) // first).bit_length())
    return (*(first << power for power in doublings), total)


def decide(
    correct: int, *, seen: int, looks: Sequence[int], cutoff: float, alpha: float
) -> Verdict | None:
    """Tells where the accuracy on all images lies, or None while that is open.

    With all images seen, the answer is certain.

    Args:
        correct: Right answers among the first `seen` images.
        looks: All looks that are planned, as from `blocks`; the last is at all images.
        cutoff: A fraction; an accuracy that equals it is "above".
        alpha: Bound on the probability that any look gives a wrong answer.

    Raises:
        ValueError: If `seen` is no planned look, or another argument is out of range.
    """
    if not 0 <= cutoff <= 1:
        raise ValueError(
            f"cutoff must be a fraction in [0, 1], got {cutoff:g}; divide percent by 100"
        )
    share, total = _share(alpha, looks, seen=seen, counted=correct), looks[-1]
    needed = bisect_left(range(total + 1), cutoff, key=lambda count: count / total)
    if needed == 0 or _tail(correct, seen=seen, good=needed - 1, total=total) <= share:
        return "above"
    if _tail(seen - correct, seen=seen, good=total - needed, total=total) <= share:
        return "below"
    return None


def _share(alpha: float, looks: Sequence[int], *, seen: int, counted: int) -> float:
    """Returns what of `alpha` one look spends; the last one is certain and spends nothing."""
    if seen not in looks:
        planned = ", ".join(str(look) for look in looks)
        raise ValueError(f"seen ({seen}) must be a planned look: {planned}")
    if not 0 <= counted <= seen:
        raise ValueError(f"the images counted ({counted}) must be among those seen ({seen})")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha:g}; 0.05 errs in one race of 20")
    return alpha / max(1, len(looks) - 1)


def _tail(hits: int, *, seen: int, good: int, total: int) -> float:
    """Returns P(X >= hits) for X good ones among `seen` drawn from `total` without replacement."""
    bad, log = total - good, _log_factorials(total)
    x = np.arange(max(hits, seen - bad), min(seen, good) + 1)
    of_good = log[good] - log[x] - log[good - x]
    of_bad = log[bad] - log[seen - x] - log[bad - seen + x]
    of_all = log[total] - log[seen] - log[total - seen]
    return float(np.exp(of_good + of_bad - of_all).sum())


@lru_cache(maxsize=4)
def _log_factorials(last: int) -> npt.NDArray[np.float64]:
    """Returns the logarithms of 0! to `last`!."""
    return np.concatenate([[0.0], np.log(np.arange(1, last + 1)).cumsum()])
