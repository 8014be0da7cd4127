"""ASHA's decision, stopping type (Li et al. 2020, arXiv:1810.05934): pure, so it can be replayed.

The resource is our own count of epochs, which never restarts; Tune's `training_iteration` does when
a trial resumes, and would file a late score under an early rung.
"""

import math
from collections.abc import Sequence


def find_cutoff(others: Sequence[float], *, reduction: int) -> float | None:
    """Returns the score from which on a trial goes on, or None if it does so whatever it shows.

    Args:
        others: As for `keeps_going`.
    """
    places = (len(others) + 1) // reduction
    return sorted(others, reverse=True)[places - 1] if places else None


def keeps_going(score: float, others: Sequence[float], *, reduction: int) -> bool:
    """Whether a trial with `score` belongs to the best 1 / `reduction` seen at its rung.

    Args:
        score: Higher is better.
        others: Scores that other trials have shown at the same rung so far, in any order.

    Returns:
        True until the rung has seen `reduction` trials, and for ties with the last that goes on.
    """
    if math.isnan(score):
        return False
    cutoff = find_cutoff(others, reduction=reduction)
    return cutoff is None or score >= cutoff
