import random

import pytest
from diagnosis_factory import END, FLAG
from records_factory import check, progress, record

from search.errors import NothingToShowError, UserError
from search.promotion import select_for_promotion
from search.records import TrialRecord


def scored(number: int, *, robust: int, clean: int = 90, seconds: float = 10.0) -> TrialRecord:
    """A completed trial with one check, whose 12 epochs took `seconds` each."""
    curve = progress(12)
    history = [
        epoch.model_copy(update={"check": None, "seconds": seconds}) for epoch in curve.history
    ]
    history[-1] = history[-1].model_copy(update={"check": check(clean, robust)})
    update = {"progress": curve.model_copy(update={"history": tuple(history)})}
    return record(number).model_copy(update=update)


def test_the_most_robust_win_whatever_the_order_of_arrival() -> None:
    records = [scored(i, robust=r) for i, r in enumerate([30, 50, 40, 50])]
    for seed in range(10):
        shuffled = random.Random(seed).sample(records, len(records))

        chosen = select_for_promotion(shuffled, top_k=2, min_clean_accuracy=0.0)

        assert [r.number for r in chosen] == [1, 3]


def test_a_tie_goes_to_the_cheaper_trial() -> None:
    records = [scored(0, robust=50, seconds=20.0), scored(1, robust=50, seconds=10.0)]

    (chosen,) = select_for_promotion(records, top_k=1, min_clean_accuracy=0.0)

    assert chosen.number == 1


def test_a_trial_below_the_clean_floor_is_not_promoted() -> None:
    records = [scored(0, robust=50, clean=59), scored(1, robust=40, clean=60)]

    chosen = select_for_promotion(records, top_k=2, min_clean_accuracy=0.5)

    assert [r.number for r in chosen] == [1]


def test_only_completed_trials_are_compared() -> None:
    records = [record(0, status="stopped", epochs=3, top=0.9), scored(1, robust=1)]

    chosen = select_for_promotion(records, top_k=5, min_clean_accuracy=0.0)

    assert [r.number for r in chosen] == [1]


def test_nothing_to_promote_says_why() -> None:
    records = [record(0, status="failed", epochs=0), scored(1, robust=5, clean=10)]

    with pytest.raises(
        NothingToShowError, match="1 of 2 completed, none with clean accuracy of at least"
    ):
        select_for_promotion(records, top_k=1, min_clean_accuracy=0.5)
    with pytest.raises(UserError, match="--top must be at least 1, got 0"):
        select_for_promotion(records, top_k=0, min_clean_accuracy=0.5)


def test_accuracies_of_different_attacks_are_not_ranked() -> None:
    records = [record(0, attack="apgd_ce10"), record(1, attack="pgd20")]

    with pytest.raises(UserError, match="cannot rank robust accuracies of different attacks"):
        select_for_promotion(records, top_k=1, min_clean_accuracy=0.0)


def test_a_trial_that_a_diagnosis_ended_is_not_promoted_and_a_flagged_one_is() -> None:
    ended = scored(0, robust=60).model_copy(update={"status": "diagnosed", "diagnoses": (END,)})
    flagged = scored(1, robust=50).model_copy(update={"diagnoses": (FLAG,)})

    chosen = select_for_promotion([ended, flagged], top_k=2, min_clean_accuracy=0.0)

    assert [record.number for record in chosen] == [1]
