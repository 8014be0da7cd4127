"""One order for what trials showed, also where there are several objectives."""

import math
from collections.abc import Sequence

import numpy as np

AUGMENTED = 0.05
"""Share of the sum in ParEGO's distance, which tells points apart that are equally far."""
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
            # In [-rank - 0.5, -rank]: no distance lifts a trial above a better front.
            found[index] = -rank - 0.5 / (1 + distance)
    return found


def in_direction(values: Sequence[Values], weights: Sequence[float]) -> list[float]:
    """Returns a number for each trial, higher is better, where objectives weigh so much.

    The augmented Chebyshev distance to the best that was seen of each objective, in units of its
    range (ParEGO, Knowles 2006, doi:10.1109/TEVC.2005.851274): for every point of a Pareto front,
    also a concave one, there are weights under which it is the best.

    Args:
        values: One tuple per trial, all of one length; one with a NaN is below everything.
        weights: One for each objective; they add up to 1.
    """
    table = np.array(values, dtype=np.float64)
    is_known = np.isfinite(table).all(axis=1)
    if not is_known.any():
        return [-math.inf] * len(table)
    best, worst = table[is_known].max(axis=0), table[is_known].min(axis=0)
    missing = np.array(weights) * (best - table) / np.where(best > worst, best - worst, 1.0)
    distance = missing.max(axis=1) + AUGMENTED * missing.sum(axis=1)
    return np.where(is_known, -distance, -math.inf).tolist()


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
