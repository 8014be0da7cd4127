"""Races: exact error rates by enumeration, SciPy's tails, and how many images a gap takes."""

import math
import statistics
from functools import cache, partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import hypergeom

from evaluation.racing import accuracy_bounds, blocks, decide, decide_paired

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


def test_a_pair_errs_at_any_look_with_probability_at_most_alpha() -> None:
    """Sums over every path of (only a, only b) through the looks, for every kind of pair."""
    looks, alpha, n = (5, 10, 15), 0.2, 15
    verdict = cache(partial(decide_paired, looks=looks, alpha=alpha))
    parts = [(a, b) for a in range(6) for b in range(6 - a)]
    worst = 0.0
    for all_a in range(n + 1):
        for all_b in range(n + 1 - all_a):
            truth, error = "above" if all_a >= all_b else "below", 0.0
            for a, b in parts:
                for more_a, more_b in parts:
                    second = verdict(a + more_a, b + more_b, seen=10)
                    if {verdict(a, b, seen=5), second} <= {None, truth}:
                        continue
                    rest = (all_a - a - more_a, all_b - b - more_b)
                    if min(rest) >= 0 and sum(rest) <= 5:
                        error += ways(a, b) * ways(more_a, more_b) * ways(*rest)
            worst = max(worst, error / ways(all_a, all_b, of=n))

    assert 0 < worst <= alpha


def ways(a: int, b: int, *, of: int = 5) -> int:
    """Counts the orders of `of` images with `a` of one kind and `b` of another."""
    return math.comb(of, a) * math.comb(of - a, b)


@pytest.mark.parametrize("cutoff", [0.4, 0.7])
def test_just_below_the_cutoff_few_races_err_and_not_absurdly_few(cutoff: float) -> None:
    counts = draw_counts(right=round(cutoff * IMAGES) - 1, races=2000, seed=1)

    verdicts = [race(row, cutoff=cutoff)[1] for row in counts]

    assert 0.5 * ALPHA < verdicts.count("above") / len(verdicts) < 0.9 * ALPHA


def test_either_bound_holds_at_all_looks_and_both_close_in() -> None:
    counts = draw_counts(right=2100, races=4000, seed=2)
    bounds_of = cache(partial(accuracy_bounds, looks=LOOKS, alpha=ALPHA))
    bounds = np.stack(
        [
            [bounds_of(count, seen=seen) for count in column.tolist()]
            for seen, column in zip(LOOKS, counts.T, strict=True)
        ],
        axis=1,
    )
    low, high = bounds[..., 0], bounds[..., 1]  # (races, looks)

    assert 0.5 * ALPHA < (low > 0.42).any(axis=1).mean() < 0.9 * ALPHA
    assert 0.5 * ALPHA < (high < 0.42).any(axis=1).mean() < 0.9 * ALPHA
    assert (np.diff(high - low, axis=1) < 0).all()


@pytest.mark.parametrize(("correct", "seen"), [(0, 256), (256, 256), (100, 256), (700, 2048)])
def test_bounds_are_the_counts_that_scipys_tails_do_not_refuse(correct: int, seen: int) -> None:
    share = ALPHA / 5
    all_right = np.arange(IMAGES + 1)
    is_not_fewer = hypergeom.sf(correct - 1, IMAGES, all_right, seen) > share
    is_not_more = hypergeom.cdf(correct, IMAGES, all_right, seen) > share
    expected = np.flatnonzero(is_not_fewer & is_not_more)[[0, -1]] / IMAGES

    bounds = accuracy_bounds(correct, seen=seen, looks=LOOKS, alpha=ALPHA)

    assert bounds == pytest.approx(tuple(expected), abs=1e-12)


def test_a_race_is_decided_where_the_cutoff_lies_outside_of_the_bounds() -> None:
    for correct in range(0, 65, 4):
        low, high = accuracy_bounds(correct, seen=64, looks=(64, 128, 200), alpha=ALPHA)
        for cutoff in np.linspace(0, 1, 201).tolist():
            expected = "above" if low >= cutoff else "below" if high < cutoff else None

            verdict = decide(correct, seen=64, looks=(64, 128, 200), cutoff=cutoff, alpha=ALPHA)

            assert verdict == expected


@pytest.mark.parametrize("correct", range(8))
def test_all_images_make_it_certain_and_the_cutoff_itself_is_above(correct: int) -> None:
    for needed in range(8):
        verdict = decide(correct, seen=7, looks=(3, 7), cutoff=needed / 7, alpha=1e-9)

        assert verdict == ("above" if correct >= needed else "below")
    assert accuracy_bounds(correct, seen=7, looks=(3, 7), alpha=1e-9) == (correct / 7, correct / 7)


def test_what_the_other_images_cannot_change_is_certain_before_they_are_seen() -> None:
    looks = (12, 20)

    assert decide(10, seen=12, looks=looks, cutoff=0.5, alpha=1e-9) == "above"
    assert decide(1, seen=12, looks=looks, cutoff=0.5, alpha=1e-9) == "below"
    assert decide_paired(10, 1, seen=12, looks=looks, alpha=1e-9) == "above"
    assert decide_paired(1, 10, seen=12, looks=looks, alpha=1e-9) == "below"
    assert decide_paired(4, 4, seen=20, looks=looks, alpha=1e-9) == "above"


@pytest.mark.parametrize(("gap", "median"), [(0.02, 2048), (0.04, 1024), (0.06, 512), (0.10, 256)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_gap_is_settled_with_so_many_of_5000_images(gap: float, median: int, sign: int) -> None:
    right = round((0.4 + sign * gap) * IMAGES)

    needed = [race(row, cutoff=0.4)[0] for row in draw_counts(right=right, races=401, seed=3)]

    assert statistics.median(needed) == median


def test_a_pair_with_a_gap_of_6_points_is_settled_with_256_images() -> None:
    """At a disagreement of 10 %; against a cutoff such a gap takes 512."""
    stream = np.random.default_rng(4)
    kinds = np.repeat([1, -1, 0], [400, 100, IMAGES - 500])
    needed: list[int] = []
    for _ in range(101):
        order = stream.permutation(kinds)
        for seen in LOOKS:
            only_a, only_b = (int((order[:seen] == kind).sum()) for kind in (1, -1))
            if decide_paired(only_a, only_b, seen=seen, looks=LOOKS, alpha=ALPHA) == "above":
                needed.append(seen)
                break

    assert statistics.median(needed) == 256


def test_of_a_pair_a_need_only_be_level_and_b_ahead() -> None:
    for only_a in range(40):
        for only_b in range(40):
            one = decide_paired(only_a, only_b, seen=80, looks=(80, 200), alpha=ALPHA)
            other = decide_paired(only_b, only_a, seen=80, looks=(80, 200), alpha=ALPHA)

            assert other != "below" or one == "above"
            assert only_a > only_b or one != "above"


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
