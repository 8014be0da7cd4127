"""The rules that order trials for promotion, by robust accuracy and by what the trial costs.

A rule gives the trials that it admits, the first to be promoted first. Ties end with the smaller
number, so that no answer depends on who finished first.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from search.books.records import TrialRecord
from search.promotion.config import Rule
from search.results.pareto import pareto_front
from trainers.metrics import Accuracy


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial as the rules see it; the robust accuracies of all come from the same images."""

    record: TrialRecord
    robust: Accuracy
    cost: float
    """In any unit that all share; lower is better."""


def order_by_rule(candidates: Sequence[Candidate], rule: Rule) -> list[Candidate]:
    """Returns the candidates that `rule` admits, best first."""
    return RULES[rule](candidates)


def most_robust(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Orders all by robust accuracy; ties go to the cheaper one."""
    return sorted(candidates, key=lambda one: (-one.robust.value, one.cost, one.record.number))


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Returns those that no other beats in robust accuracy and cost alike, most robust first."""
    ranked = most_robust(candidates)
    return [ranked[index] for index in pareto_front([(c.robust.value, -c.cost) for c in ranked])]


def knee_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Orders the front by the distance above the line between its ends, both axes scaled to [0, 1].

    Where nothing lies above that line, as on a front of two, the most robust comes first.

    Source: Das 1999, Struct. Optim. 18:107; for discrete points Satopaa et al. 2011, "Finding a
        'kneedle' in a haystack", ICDCS workshops.
    """
    along = front(candidates)
    if not along:
        return []
    best, cheapest = along[0], along[-1]
    height = best.robust.value - cheapest.robust.value or 1.0
    width = best.cost - cheapest.cost or 1.0

    def above_the_line(one: Candidate) -> float:
        up = (one.robust.value - cheapest.robust.value) / height
        return up - (one.cost - cheapest.cost) / width

    # Rounded, so that the ends, which lie on the line, tie there.
    return sorted(along, key=lambda one: -round(above_the_line(one), 12))


def cheapest_within_noise(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Orders by cost those whose robust accuracy is less than 2 SE below the best one's.

    Checks keep no flags per image, so the SE is that of two independent samples. All candidates saw
    the same images, on which models mostly agree: it is larger than the paired one.
    """
    ranked = most_robust(candidates)
    within = [one for one in ranked if _is_within_noise(one.robust, ranked[0].robust)]
    return sorted(within, key=lambda one: one.cost)


def _is_within_noise(accuracy: Accuracy, best: Accuracy) -> bool:
    se = math.sqrt(sum(one.value * (1 - one.value) / one.n for one in (accuracy, best)))
    gain = best.value - accuracy.value
    return gain == 0 or gain < 2 * se


RULES: Mapping[Rule, Callable[[Sequence[Candidate]], list[Candidate]]] = {
    "top_k": most_robust,
    "pareto": front,
    "knee": knee_first,
    "within_noise_cheapest": cheapest_within_noise,
}
