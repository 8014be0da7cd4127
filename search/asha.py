"""ASHA's decision, stopping type (Li et al. 2020, arXiv:1810.05934): pure, so it can be replayed.

The resource is our own count of epochs, which never restarts; Tune's `training_iteration` does when
a trial resumes, and would file a late score under an early rung.
"""

import math
from collections.abc import Sequence


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
    seen = sorted([*others, score], reverse=True)
    if len(seen) < reduction:
        return True
    return score >= seen[len(seen) // reduction - 1]
