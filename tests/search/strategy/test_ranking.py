"""One order for several objectives, against brute force and a figure of the paper."""

import math
from itertools import pairwise

import numpy as np

from search.strategy.ranking import in_direction, pareto_fronts, scores


def test_one_objective_is_its_own_score() -> None:
    assert scores([(0.2,), (0.1,), (math.nan,)]) == [0.2, 0.1, -math.inf]


def test_no_score_of_a_front_reaches_that_of_the_front_before_it() -> None:
    points = [tuple(row) for row in np.random.default_rng(0).random((40, 2)).tolist()]

    found = scores(points)

    fronts = pareto_fronts(points)
    for before, after in pairwise(fronts):
        assert min(found[i] for i in before) > max(found[i] for i in after)


def test_a_twin_within_a_front_stands_above_the_next_front() -> None:
    twins, behind = [(0.5, -1.0)] * 3, (0.4, -1.0)

    found = scores([behind, *twins])

    assert found[0] < min(found[1:])


def test_fronts_are_what_peeling_by_brute_force_gives() -> None:
    points = [tuple(row) for row in np.random.default_rng(1).integers(0, 5, (30, 3)).tolist()]

    left = set(range(30))
    for front in pareto_fronts(points):
        expected = {
            i
            for i in left
            if not any(
                all(a >= b for a, b in zip(points[j], points[i], strict=True))
                and points[j] != points[i]
                for j in left
            )
        }
        assert set(front) == expected
        left -= expected
    assert not left


def test_within_a_front_the_ends_come_first_and_the_crowded_last() -> None:
    front = [(0.0, 1.0), (0.5, 0.5), (0.52, 0.48), (1.0, 0.0)]

    found = scores(front)

    assert sorted(range(4), key=lambda i: -found[i])[:2] == [0, 3]
    # Boxes between neighbours: 0.52 + 0.52 for the second point, 0.5 + 0.5 for the third.
    assert found[1] > found[2]


def test_equal_points_share_a_front() -> None:
    assert pareto_fronts([(1.0, 1.0), (1.0, 1.0), (0.0, 0.0)]) == [[0, 1], [2]]


def test_a_direction_is_the_papers_distance_from_the_best_of_each_objective() -> None:
    """Knowles 2006, equation 2, by hand: ranges are 0.4 and 100."""
    points = [(0.6, -100.0), (0.4, -50.0), (0.2, 0.0)]

    found = in_direction(points, [0.25, 0.75])

    by_hand = [-(0.75 + 0.05 * 0.75), -(0.375 + 0.05 * 0.5), -(0.25 + 0.05 * 0.25)]
    np.testing.assert_allclose(found, by_hand)


def test_each_point_of_a_concave_front_is_the_best_in_some_direction() -> None:
    """No weighted sum finds the middle of (1, 0), (0.4, 0.4), (0, 1)."""
    points = [(1.0, 0.0), (0.4, 0.4), (0.0, 1.0), (0.3, 0.3)]

    best = {int(np.argmax(in_direction(points, [w, 1 - w]))) for w in np.linspace(0.01, 0.99, 99)}

    assert best == {0, 1, 2}


def test_in_no_direction_is_nothing_better_than_something() -> None:
    found = in_direction([(0.5, math.nan), (0.1, 0.1), (0.2, 0.0)], [0.5, 0.5])

    assert found[0] == -math.inf
    assert min(found[1:]) > -math.inf
    assert in_direction([(math.nan, 0.0)], [0.5, 0.5]) == [-math.inf]
