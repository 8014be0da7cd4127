"""Statistics: published numbers, SciPy, and exact coverage."""

import math

import pytest
from scipy.stats import binomtest

from evaluation.paired import compare_paired
from trainers.metrics import wilson_interval


def outcomes(*, both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


def test_wilson_interval_gives_newcombes_published_example() -> None:
    low, high = wilson_interval(81, 263)  # Newcombe 1998, Stat. Med. 17:857, table I

    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_difference_is_that_of_the_two_accuracies() -> None:
    a, b = outcomes(both=1, only_a=1, only_b=7, neither=12)

    comparison = compare_paired(a, b)

    assert comparison.difference == pytest.approx(sum(a) / 21 - sum(b) / 21)
    assert (comparison.n, comparison.only_a, comparison.only_b) == (21, 1, 7)


def test_interval_and_p_value_of_the_airway_data_of_bentur_2009() -> None:
    """The example of Fagerland et al. 2014, worked by hand: 2/23 and 8/23 after adjustment."""
    a, b = outcomes(both=1, only_a=1, only_b=7, neither=12)

    comparison = compare_paired(a, b)

    assert (comparison.low, comparison.high) == pytest.approx((-0.50836, -0.01338), abs=5e-6)
    assert comparison.p_value == 2 * (1 + 8) / 2**8


def test_interval_agrees_with_newcombes_on_the_myeloma_data_of_cavo_2012() -> None:
    """Newcombe's square-and-add interval there is -0.1186 to -0.0046 (R: contingencytables)."""
    a, b = outcomes(both=59, only_a=6, only_b=16, neither=80)

    comparison = compare_paired(a, b)

    assert (comparison.low, comparison.high) == pytest.approx((-0.1186, -0.0046), abs=2e-3)


@pytest.mark.parametrize(("p_a", "p_b"), [(0.1, 0.1), (0.05, 0.15), (0.2, 0.3), (0.02, 0.3)])
def test_interval_covers_the_true_difference_about_95_times_in_100(p_a: float, p_b: float) -> None:
    n, covered = 60, 0.0
    for only_a in range(n + 1):
        for only_b in range(n + 1 - only_a):
            ways = math.comb(n, only_a) * math.comb(n - only_a, only_b)
            chance = ways * p_a**only_a * p_b**only_b * (1 - p_a - p_b) ** (n - only_a - only_b)
            if chance > 1e-9:
                both = n - only_a - only_b
                a, b = outcomes(both=both, only_a=only_a, only_b=only_b, neither=0)
                comparison = compare_paired(a, b)
                covered += chance * (comparison.low <= p_a - p_b <= comparison.high)

    assert 0.94 < covered < 0.985


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 9), (5, 5), (12, 31), (700, 600)])
def test_p_value_is_the_exact_binomial_test(only_a: int, only_b: int) -> None:
    a, b = outcomes(both=3, only_a=only_a, only_b=only_b, neither=2)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0

    assert compare_paired(a, b).p_value == pytest.approx(expected, rel=1e-9)


def test_swapping_the_models_mirrors_the_comparison() -> None:
    a, b = outcomes(both=40, only_a=9, only_b=3, neither=8)

    one, other = compare_paired(a, b), compare_paired(b, a)

    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == other.p_value


@pytest.mark.parametrize(("a", "b"), [([], []), ([True], [True, False])])
def test_comparison_without_pairs_is_refused(a: list[bool], b: list[bool]) -> None:
    with pytest.raises(ValueError, match="needs the same images, at least one"):
        compare_paired(a, b)
