import random

import pytest

from search.results.pareto import pareto_front


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a != b


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_what_no_point_dominates(seed: int) -> None:
    # Few distinct values, so that ties in one and in both coordinates are common.
    draw = random.Random(seed)
    points = [(draw.randint(0, 9) / 10, draw.randint(0, 9) / 10) for _ in range(40)]

    front = pareto_front(points)

    expected = {i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)}
    assert set(front) == expected
    assert len(front) == len(expected)
    assert [points[i][0] for i in front] == sorted((points[i][0] for i in front), reverse=True)


def test_no_points_have_no_front() -> None:
    assert pareto_front([]) == []
