import math
import random

import pytest

from search.strategy.asha import find_cutoff, keeps_going


@pytest.mark.parametrize(
    ("score", "others", "reduction", "expected"),
    [
        (0.1, [], 2, True),  # the rung has not seen `reduction` trials
        (0.1, [0.9], 3, True),
        (0.1, [0.9], 2, False),
        (0.9, [0.1], 2, True),
        (0.5, [0.5], 2, True),  # ties go on
        (0.4, [0.1, 0.2, 0.3, 0.5, 0.6], 3, False),  # third of six, best two go on
        (0.5, [0.1, 0.2, 0.3, 0.4, 0.6], 3, True),
        (math.nan, [], 2, False),
    ],
)
def test_the_best_share_of_a_rung_goes_on(
    score: float, others: list[float], reduction: int, expected: bool
) -> None:
    assert keeps_going(score, others, reduction=reduction) is expected


def test_the_decision_does_not_depend_on_the_order_of_the_others() -> None:
    draw = random.Random(0)
    for _ in range(100):
        others = [draw.random() for _ in range(draw.randint(0, 9))]
        score = draw.random()

        decisions = {
            keeps_going(score, draw.sample(others, len(others)), reduction=3) for _ in range(5)
        }

        assert len(decisions) == 1


def test_the_cutoff_is_the_least_score_that_goes_on() -> None:
    draw = random.Random(1)
    for reduction in (2, 3, 4):
        for _ in range(100):
            others = [draw.randint(0, 9) / 9 for _ in range(draw.randint(0, 9))]
            going = [
                score
                for score in (i / 18 for i in range(19))
                if keeps_going(score, others, reduction=reduction)
            ]

            cutoff = find_cutoff(others, reduction=reduction)

            assert cutoff == (None if len(others) + 1 < reduction else min(going))


def test_a_finished_rung_lets_the_published_share_through() -> None:
    """With every score known, floor(n / reduction) trials go on (Li et al. 2020, alg. 1)."""
    scores = [i / 27 for i in range(27)]
    on = [
        s for i, s in enumerate(scores) if keeps_going(s, scores[:i] + scores[i + 1 :], reduction=3)
    ]

    assert on == scores[-9:]
