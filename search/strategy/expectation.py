"""What a trial is expected to show at the end, from the rungs that it has seen.

A model of the highest rung alone knows only the few trials that got there; one that takes the
numbers of different rungs as they are believes that whatever trained on is better. Here a line for
each rung, through the trials that went on from it, maps what was seen there to what is known or
expected higher up, so that every trial teaches the sampler at one scale.
"""

from collections.abc import Sequence

import numpy as np

from search.strategy.observed import Observed


def expected_values(
    trials: Sequence[Observed], *, objective: int, at_least: int
) -> dict[int, float]:
    """Returns by the number of a trial its value at the highest level in use, seen or expected.

    Args:
        trials: Each has seen a level.
        objective: Its place among the objectives.
        at_least: Trials that make a line; a level that fewer have reached counts as not reached.
    """
    top = max(t.highest for t in trials)
    while top and sum(t.highest >= top for t in trials) < at_least:
        top -= 1
    expected = {t.number: t.values[top][objective] for t in trials if top in t.values}
    for level in reversed(range(top)):
        there = {t.number: t.values[level][objective] for t in trials if level in t.values}
        rose = [number for number in there if number in expected]
        line = _line([there[n] for n in rose], [expected[n] for n in rose])
        new = {n: line[0] + line[1] * seen for n, seen in there.items() if n not in expected}
        expected |= new
    # What was shown above alone, where no line leads: as it is.
    rest = {t.number: t.values[min(t.values)][objective] for t in trials}
    return rest | expected


def _line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns offset and slope of the line of least squares; without spread, a flat one."""
    if not x:
        return 0.0, 1.0
    xs, ys = np.array(x), np.array(y)
    spread = float(((xs - xs.mean()) ** 2).sum())
    slope = float(((xs - xs.mean()) * (ys - ys.mean())).sum()) / spread if spread > 0 else 0.0
    return float(ys.mean()) - slope * float(xs.mean()), slope
