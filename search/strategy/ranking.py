"""One order for what trials showed, also where there are several objectives."""

import math
from collections.abc import Sequence

Values = tuple[float, ...]
"""A number for each objective, higher is better."""


def scores(values: Sequence[Values]) -> list[float]:
    """Returns a number for each trial that orders them, higher is better.

    With one objective it is the value itself. With several it is the Pareto rank, and within a
    front the crowding distance (Deb et al. 2002, NSGA-II), as in MO-ASHA (Schmucker et al. 2021,
    arXiv:2106.12639): a front that is cut keeps its ends and its gaps.

    Args:
        values: One tuple per trial, all of one length; a NaN is below everything.
    """
    if not values:
        return []
    cleaned = [tuple(-math.inf if math.isnan(v) else v for v in one) for one in values]
    if len(cleaned[0]) == 1:
        return [one[0] for one in cleaned]
    found = [0.0] * len(cleaned)
    for rank, front in enumerate(pareto_fronts(cleaned)):
        for index, distance in zip(front, _crowding([cleaned[i] for i in front]), strict=True):
            # In (-rank - 1, -rank]: no distance lifts a trial above a better front.
            found[index] = -rank - 1 / (1 + distance)
    return found


def pareto_fronts(values: Sequence[Values]) -> list[list[int]]:
    """Returns the indices of the points that nothing dominates, then of those behind them, and so
    on."""
    left, fronts = list(range(len(values))), list[list[int]]()
    while left:
        front = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        fronts.append(front)
        left = [i for i in left if i not in set(front)]
    return fronts


def dominates(a: Values, b: Values) -> bool:
    """Whether `a` is as good as `b` in every objective and better in one."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


def _crowding(front: Sequence[Values]) -> list[float]:
    """Returns for each point the side lengths of the box between its neighbours, summed."""
    distances = [0.0] * len(front)
    for objective in range(len(front[0])):
        order = sorted(range(len(front)), key=lambda i: front[i][objective])
        low, high = front[order[0]][objective], front[order[-1]][objective]
        distances[order[0]] = distances[order[-1]] = math.inf
        if not 0 < high - low < math.inf:
            continue
        for before, here, after in zip(order, order[1:], order[2:], strict=False):
            gap = front[after][objective] - front[before][objective]
            distances[here] += gap / (high - low)
    return distances
