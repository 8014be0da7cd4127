"""Two models on the same images: what the difference is, and whether it could be luck."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959964


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """The accuracy of a minus that of b on the same images, as a fraction."""

    n: int
    difference: float
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    only_a: int
    """Images that a alone got right."""
    only_b: int
    p_value: float
    """Exact two-sided McNemar test that neither model is better."""


def compare_paired(a: Sequence[bool], b: Sequence[bool]) -> PairedComparison:
    """Compares the outcomes of two models image by image.

    Only images on which they disagree tell them apart, so the interval is narrower than two
    separate ones suggest.

    Raises:
        ValueError: If there are no images, or the two are not about the same number of them.
    Source: interval: Bonett and Price 2012, J. Educ. Behav. Stat. 37:479 (adjusted Wald), cut to
        [-1, 1]; test: exact conditional McNemar, as in Fagerland et al. 2014, Stat. Med. 33:2850.
    """
    if len(a) != len(b) or not a:
        raise ValueError(
            f"a paired comparison needs the same images, at least one: got {len(a)} and {len(b)}"
        )
    n = len(a)
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    low, high = _bonett_price_interval(only_a, only_b, n)
    return PairedComparison(
        n=n,
        difference=(only_a - only_b) / n,
        low=low,
        high=high,
        only_a=only_a,
        only_b=only_b,
        p_value=_exact_mcnemar(only_a, only_b),
    )


def _bonett_price_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Returns the Wald interval after adding one disagreement of either kind."""
    p_a, p_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = p_a - p_b
    margin = Z95 * math.sqrt((p_a + p_b - centre**2) / (n + 2))
    return (max(-1.0, centre - margin), min(1.0, centre + margin))


def _exact_mcnemar(only_a: int, only_b: int) -> float:
    """Returns twice the binomial tail at 1/2, in exact integers until the last division."""
    disagreements = only_a + only_b
    tail = sum(math.comb(disagreements, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / 2**disagreements)
