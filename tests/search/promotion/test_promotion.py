import random
from typing import Any

import pytest
from diagnosis_factory import END, FLAG
from pydantic import ValidationError
from records_factory import check, full_run, progress, record

from search.books.records import TrialRecord
from search.errors import NothingToShowError, UserError
from search.promotion.choice import (
    cost_among,
    select_at_stage,
    select_by_number,
    select_for_promotion,
)
from search.promotion.config import PromotionConfig
from search.promotion.rules import Candidate, cheapest_within_noise, front, knee_first
from trainers.metrics import Accuracy


def promotion(**changes: Any) -> PromotionConfig:
    """Returns the promotion of the two most robust trials, without a floor."""
    fields = {"top_k": 2, "min_clean_accuracy": 0.0, "overrides": {}}
    return PromotionConfig.model_validate(fields | changes)


def scored(number: int, *, robust: int, clean: int = 90, seconds: float = 10.0) -> TrialRecord:
    """A completed trial with one check, whose 12 epochs took `seconds` each."""
    curve = progress(12)
    history = [
        epoch.model_copy(update={"check": None, "seconds": seconds}) for epoch in curve.history
    ]
    history[-1] = history[-1].model_copy(update={"check": check(clean, robust)})
    update = {"progress": curve.model_copy(update={"history": tuple(history)})}
    return record(number).model_copy(update=update)


def chosen(records: list[TrialRecord], **changes: Any) -> list[int]:
    """Returns the numbers of the trials that are promoted."""
    selection = select_for_promotion(records, promotion(**changes), cost="seconds")
    return [one.number for one in selection.records]


def candidates(*points: tuple[float, float]) -> list[Candidate]:
    """Returns a candidate for each (robust accuracy in %, cost), numbered from 0."""
    return [
        Candidate(
            record=record(number),
            robust=Accuracy(attack="apgd", n=1000, correct=round(10 * robust)),
            cost=cost,
        )
        for number, (robust, cost) in enumerate(points)
    ]


def numbers(ordered: list[Candidate]) -> list[int]:
    return [one.record.number for one in ordered]


def test_the_most_robust_win_whatever_the_order_of_arrival() -> None:
    records = [scored(i, robust=r) for i, r in enumerate([30, 50, 40, 50])]
    for seed in range(10):
        shuffled = random.Random(seed).sample(records, len(records))

        assert chosen(shuffled) == [1, 3]


def test_a_tie_goes_to_the_cheaper_trial() -> None:
    records = [scored(0, robust=50, seconds=20.0), scored(1, robust=50, seconds=10.0)]

    assert chosen(records, top_k=1) == [1]


def test_a_trial_below_the_clean_floor_is_not_promoted() -> None:
    records = [scored(0, robust=50, clean=59), scored(1, robust=40, clean=60)]

    assert chosen(records, min_clean_accuracy=0.5) == [1]


def test_only_completed_trials_are_compared() -> None:
    records = [record(0, status="stopped", epochs=3, top=0.9), scored(1, robust=1)]

    assert chosen(records, top_k=5) == [1]


def test_where_none_completed_the_highest_rung_is_compared_and_said() -> None:
    records = [
        record(0, status="stopped", epochs=3, top=0.9),
        record(1, status="paused", epochs=6, top=0.3),
        record(2, status="stopped", epochs=7, top=0.8),
        record(3, status="failed", epochs=6, top=0.9),
        record(4, status="diagnosed", epochs=6, top=0.9),
    ]

    selection = select_for_promotion(records, promotion(), cost="seconds")

    assert [one.number for one in selection.records] == [2, 1]
    assert selection.words == (
        "promoting t00002, t00001 by rule top_k (apgd_ce10+apgd_t3x10, n=120, cost: seconds), "
        "among 2 of 5 trials: checked at epoch 6, the highest rung that any reached, clean "
        "accuracy at least 0"
    )


def test_a_check_that_a_race_ended_is_not_compared() -> None:
    whole, raced = (record(i, status="stopped", epochs=3) for i in range(2))
    assert raced.progress is not None
    *before, last = raced.progress.history
    missed = check(29, 28, n=30).model_copy(update={"missed": 0.97})
    history = (*before, last.model_copy(update={"check": missed}))
    raced = raced.model_copy(
        update={"progress": raced.progress.model_copy(update={"history": history})}
    )

    assert chosen([whole, raced]) == [0]


def test_nothing_to_promote_says_why() -> None:
    records = [record(0, status="failed", epochs=0), scored(1, robust=5, clean=10)]

    with pytest.raises(
        NothingToShowError, match="1 of 2 completed, none with clean accuracy of at least"
    ):
        chosen(records, min_clean_accuracy=0.5)
    with pytest.raises(NothingToShowError, match="0 of 1 completed"):
        chosen(records[:1])


def test_accuracies_of_different_attacks_are_not_ranked() -> None:
    records = [record(0, attack="apgd_ce10"), record(1, attack="pgd20")]

    with pytest.raises(UserError, match="cannot rank robust accuracies of different attacks"):
        chosen(records)


def test_a_trial_that_a_diagnosis_ended_is_not_promoted_and_a_flagged_one_is() -> None:
    ended = scored(0, robust=60).model_copy(update={"status": "diagnosed", "diagnoses": (END,)})
    flagged = scored(1, robust=50).model_copy(update={"diagnoses": (FLAG,)})

    assert chosen([ended, flagged]) == [1]


def test_the_front_is_all_that_no_other_beats_in_both() -> None:
    points = [(40, 5), (50, 9), (30, 1), (39, 6), (50, 10), (30, 1), (20, 1)]

    assert numbers(front(candidates(*points))) == [1, 0, 2, 5]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        # A quarter circle around the dear and poor corner: its middle is farthest from the chord.
        ([(0, 0), (50, 13.4), (70.7, 29.3), (86.6, 50), (100, 100)], 2),
        # Twice the cost for one point of 20: the knee is before it.
        ([(30, 10), (49, 20), (50, 40)], 1),
        # A front that bends the other way has no knee.
        ([(30, 10), (31, 20), (50, 40)], 2),
        ([(30, 10), (50, 40)], 1),
        ([(30, 10)], 0),
        ([(30, 10), (30, 10), (29, 11)], 0),
    ],
)
def test_the_knee_is_farthest_above_the_line_between_the_ends(
    points: list[tuple[float, float]], expected: int
) -> None:
    assert numbers(knee_first(candidates(*points)))[0] == expected


def test_the_unit_of_the_cost_does_not_move_the_knee() -> None:
    points = [(30.0, 10.0), (45.0, 18.0), (49.0, 20.0), (50.0, 40.0)]
    scaled = [(robust, 3600 * cost + 7) for robust, cost in points]

    assert numbers(knee_first(candidates(*points))) == numbers(knee_first(candidates(*scaled)))


def test_the_cheapest_within_two_se_of_the_best_comes_first() -> None:
    # At n = 1000 and 50 %, the SE of a difference is 2.24 points.
    points = [(50, 40), (46, 20), (45.6, 10), (45, 1), (49, 40)]

    assert numbers(cheapest_within_noise(candidates(*points))) == [2, 1, 0, 4]


def test_equal_accuracies_without_any_noise_are_within_it() -> None:
    assert numbers(cheapest_within_noise(candidates((100, 9), (100, 3), (99, 1)))) == [1, 0]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("top_k", [1, 0]),
        ("pareto", [1, 2]),
        ("knee", [2, 1]),
        ("within_noise_cheapest", [2, 1]),
    ],
)
def test_a_rule_is_chosen_by_its_name(rule: str, expected: list[int]) -> None:
    speeds = [(59, 11.0), (60, 10.0), (58, 4.0), (20, 2.0)]
    records = [scored(i, robust=r, seconds=s) for i, (r, s) in enumerate(speeds)]

    assert chosen(records, rule=rule)[:2] == expected


def test_the_cost_is_the_first_objective_that_is_one() -> None:
    assert cost_among(("robust", "gmacs", "seconds")) == "gmacs"
    assert cost_among(("robust", "clean")) == "seconds"


def test_a_trial_that_paused_costs_what_it_would_at_its_last_epoch() -> None:
    slow, fast = scored(0, robust=50, seconds=11.0), scored(1, robust=50, seconds=10.0)
    paused = [one.model_copy(update={"status": "paused"}) for one in (slow, fast)]

    assert chosen(paused, rule="pareto") == [1]


def test_exactly_the_named_trials_are_taken_in_their_order() -> None:
    records = [record(0), record(3, status="stopped", epochs=3), record(12)]

    selection = select_by_number(records, (12, 3, 12))

    assert [one.number for one in selection.records] == [12, 3]
    assert selection.words == "promoting t00012, t00003, as asked for"


def test_an_unknown_number_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"there is no trial 14; .*`rampart status NAME` lists them"
    ):
        select_by_number([record(3), record(7)], (3, 14))


def test_the_most_robust_of_a_stage_go_on_and_failed_ones_do_not() -> None:
    runs = [
        full_run(f"t0000{i}").model_copy(update={"progress": scored(i, robust=r).progress})
        for i, r in enumerate((40, 60, 50))
    ]
    runs[1] = runs[1].model_copy(update={"status": "failed", "reason": "non-finite loss"})

    assert [run.key for run in select_at_stage(runs, keep=2)] == ["t00002", "t00000"]
    assert select_at_stage(runs[1:2], keep=1) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_k": 0}, "top_k"),
        ({"seeds": 0}, "seeds"),
        ({"rule": "best"}, "'top_k', 'pareto', 'knee' or 'within_noise_cheapest'"),
        ({"before": [{"overrides": {}, "keep": 0}]}, r"before\.0\.keep"),
        (
            {"before": [{"overrides": {}, "keep": 2}]},
            r"before\.0\.keep \(2\) must be less than the 2 that enter the stage",
        ),
        (
            {"top_k": 9, "before": [{"overrides": {}, "keep": 3}, {"overrides": {}, "keep": 5}]},
            r"before\.1\.keep \(5\) must be less than the 3",
        ),
    ],
)
def test_a_promotion_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        promotion(**changes)
