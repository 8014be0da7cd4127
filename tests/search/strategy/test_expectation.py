"""What a trial is expected to show at the end, against closed forms and NumPy's own fit."""

import numpy as np
import pytest

from search.strategy.expectation import expected_values
from search.strategy.observed import Observed


def _climbed(number: int, values: dict[int, tuple[float, ...]]) -> Observed:
    return Observed(number=number, status="paused", params={}, values=values, goal=max(values))


def test_where_rungs_are_straight_lines_of_each_other_ends_are_expected_exactly() -> None:
    """The second level shows 2 v + 1 and the last 10 - v of what the one below showed."""
    firsts = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    trials = [
        _climbed(n, {0: (v,), **({1: (2 * v + 1,)} if n < 5 else {}), **_third(n, 2 * v + 1)})
        for n, v in enumerate(firsts)
    ]

    found = expected_values(trials, objective=0, at_least=3)

    assert [found[n] for n in range(8)] == pytest.approx([10 - (2 * v + 1) for v in firsts])


def _third(number: int, second: float) -> dict[int, tuple[float, ...]]:
    return {2: (10 - second,)} if number < 3 else {}


def test_a_level_that_too_few_have_reached_is_not_modelled() -> None:
    trials = [_climbed(0, {0: (1.0,), 1: (9.0,)}), _climbed(1, {0: (2.0,)})]

    assert expected_values(trials, objective=0, at_least=2) == {0: 1.0, 1: 2.0}


def test_what_is_expected_lies_on_the_least_squares_line() -> None:
    x, y = [0.0, 1.0, 1.0, 2.0, 0.5], [1.0, 0.0, 2.0, 1.5, 1.0]
    trials = [_climbed(n, {0: (a,), 1: (b,)}) for n, (a, b) in enumerate(zip(x, y, strict=True))]

    found = expected_values([*trials, _climbed(5, {0: (5.0,)})], objective=0, at_least=2)

    assert [found[n] for n in range(5)] == y
    assert found[5] == pytest.approx(float(np.polyval(np.polyfit(x, y, 1), 5.0)))


def test_what_was_shown_only_above_the_levels_in_use_is_taken_as_it_is() -> None:
    trials = [_climbed(n, {0: (float(n),)}) for n in range(5)] + [_climbed(5, {1: (0.5,)})]

    found = expected_values(trials, objective=0, at_least=3)

    assert found == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0, 5: 0.5}
