"""Races: exact error rates by enumeration, SciPy's tails, and how many images a gap takes."""

import math
import statistics
from functools import cache, partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.racing import blocks, decide

ALPHA = 0.05
IMAGES = 5000
LOOKS = blocks(IMAGES, first=256)
Counts = npt.NDArray[np.int64]


def draw_counts(*, right: int, races: int, seed: int) -> Counts:
    """Draws races of a model that gets `right` of all images right: its counts at each look."""
    stream, counts = np.random.default_rng(seed), [np.zeros(races, dtype=np.int64)]
    for before, now in pairwise((0, *LOOKS)):
        left = right - counts[-1]
        counts.append(
            counts[-1] + stream.hypergeometric(left, IMAGES - before - left, now - before)
        )
    return np.stack(counts[1:], axis=1)


def race(counts: Counts, *, cutoff: float) -> tuple[int, str]:
    """Returns after how many images a race is decided, and how."""
    for seen, correct in zip(LOOKS, counts.tolist(), strict=True):
        verdict = verdict_at(correct, seen, cutoff)
        if verdict is not None:
            return seen, verdict
    raise AssertionError("the last look is certain")


@cache
def verdict_at(correct: int, seen: int, cutoff: float) -> str | None:
    return decide(correct, seen=seen, looks=LOOKS, cutoff=cutoff, alpha=ALPHA)


@pytest.mark.parametrize(
    ("total", "first", "expected"),
    [
        (5000, 256, (256, 512, 1024, 2048, 4096, 5000)),
        (256, 64, (64, 128, 256)),
        (240, 64, (64, 128, 240)),
        (6, 5, (5, 6)),
        (5, 5, (5,)),
    ],
)
def test_blocks_double_until_all_images_are_seen(
    total: int, first: int, expected: tuple[int, ...]
) -> None:
    assert blocks(total, first=first) == expected


@pytest.mark.parametrize("cutoff", [0.1, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_a_race_errs_at_any_look_with_probability_at_most_alpha(
    cutoff: float, alpha: float
) -> None:
    """Sums the probability of every path of counts through the looks, for every accuracy."""
    looks = (6, 12, 24)
    verdict = cache(partial(decide, looks=looks, cutoff=cutoff, alpha=alpha))
    for right in range(25):
        truth = "above" if right / 24 >= cutoff else "below"
        error = 0.0
        for first in range(max(0, right - 18), min(6, right) + 1):
            for second in range(first, min(first + 6, right) + 1):
                path = math.comb(6, first) * math.comb(6, second - first)
                chance = path * math.comb(12, right - second) / math.comb(24, right)
                counts = zip((first, second, right), looks, strict=True)
                error += chance * any(
                    verdict(correct, seen=n) not in (None, truth) for correct, n in counts
                )

        assert error <= alpha


@pytest.mark.parametrize("cutoff", [0.4, 0.7])
def test_just_below_the_cutoff_few_races_err_and_not_absurdly_few(cutoff: float) -> None:
    counts = draw_counts(right=round(cutoff * IMAGES) - 1, races=2000, seed=1)

    verdicts = [race(row, cutoff=cutoff)[1] for row in counts]

    assert 0.5 * ALPHA < verdicts.count("above") / len(verdicts) < 0.9 * ALPHA


@pytest.mark.parametrize("correct", range(8))
def test_all_images_make_it_certain_and_the_cutoff_itself_is_above(correct: int) -> None:
    for needed in range(8):
        verdict = decide(correct, seen=7, looks=(3, 7), cutoff=needed / 7, alpha=1e-9)

        assert verdict == ("above" if correct >= needed else "below")


@pytest.mark.parametrize(("gap", "median"), [(0.02, 2048), (0.04, 1024), (0.06, 512), (0.10, 256)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_gap_is_settled_with_so_many_of_5000_images(gap: float, median: int, sign: int) -> None:
    right = round((0.4 + sign * gap) * IMAGES)

    needed = [race(row, cutoff=0.4)[0] for row in draw_counts(right=right, races=401, seed=3)]

    assert statistics.median(needed) == median


def test_blocks_without_a_first_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"first \(0\) must be between 1 and the number of images"):
        blocks(10, first=0)
    with pytest.raises(ValueError, match=r"first \(11\) must be between 1 and the number of im"):
        blocks(10, first=11)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seen": 5}, r"seen \(5\) must be a planned look: 4, 8"),
        ({"correct": 5}, r"the images counted \(5\) must be among those seen \(4\)"),
        ({"alpha": 0.0}, r"alpha must be in \(0, 1\), got 0"),
        ({"cutoff": 42.0}, r"cutoff must be a fraction in \[0, 1\], got 42; divide percent by 100"),
        ({"cutoff": math.nan}, r"cutoff must be a fraction in \[0, 1\], got nan"),
    ],
)
def test_a_race_by_other_rules_is_refused(change: dict[str, float], words: str) -> None:
    arguments = {"seen": 4, "correct": 2, "alpha": 0.05, "cutoff": 0.5} | change

    with pytest.raises(ValueError, match=words):
        decide(
            int(arguments["correct"]),
            seen=int(arguments["seen"]),
            looks=(4, 8),
            cutoff=arguments["cutoff"],
            alpha=arguments["alpha"],
        )
