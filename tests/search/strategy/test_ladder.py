"""Who goes on and what runs next, against hand-worked cases of the published rules."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from search.strategy.config import LadderConfig
from search.strategy.ladder import (
    Job,
    bracket_of_next,
    bracket_shares,
    highest_in_use,
    next_job,
    verdict,
)
from search.strategy.observed import Observed, ObservedStatus

RACE = {"first_block": 60, "alpha": 0.05}


def ladder(**fields: Any) -> LadderConfig:
    return LadderConfig.model_validate({"rungs": [3, 6], "reduction": 2, "race": RACE, **fields})


def trial(
    number: int,
    values: Mapping[int, float],
    status: ObservedStatus = "paused",
    *,
    bracket: str = "",
    first: int = 0,
) -> Observed:
    shown = {level: (value,) for level, value in values.items()}
    goal = max(shown, default=0)
    return Observed(
        number=number,
        status=status,
        params={},
        values=shown,
        goal=goal,
        bracket=bracket,
        first=first,
    )


def rung(*scores: float, status: ObservedStatus = "paused") -> list[Observed]:
    """Trials that stand on the lowest rung with these scores."""
    return [trial(number, {0: score}, status) for number, score in enumerate(scores)]


def test_the_best_half_of_a_rung_is_promoted_best_first() -> None:
    job = next_job(rung(0.1, 0.4, 0.3, 0.2), ladder(), may_start=True)

    assert job == Job(number=1, level=1, first=0)


def test_one_of_three_is_promoted_where_half_of_three_is_one() -> None:
    trials = [trial(0, {0: 0.1}), trial(1, {0: 0.3}), trial(2, {0: 0.2})]

    assert next_job(trials, ladder(), may_start=True) == Job(number=1, level=1, first=0)
    promoted = [trials[0], trial(1, {0: 0.3}, "running"), trials[2]]
    assert next_job(promoted, ladder(), may_start=True) == Job(number=None, level=0, first=0)


def test_a_higher_rung_promotes_before_a_lower_one() -> None:
    high = [trial(0, {0: 0.9, 1: 0.5}), trial(1, {0: 0.8, 1: 0.6})]
    low = [trial(2, {0: 0.95}), trial(3, {0: 0.1})]

    job = next_job([*high, *low], ladder(), may_start=True)

    assert job == Job(number=1, level=2, first=0)


def test_a_trial_that_was_promoted_holds_its_place_among_the_best() -> None:
    trials = [trial(0, {0: 0.9, 1: 0.2}), *rung(0.1, 0.2, 0.3)[1:], trial(3, {0: 0.15})]

    # 2 of 4 go on: trial 0, which is above already, and trial 2.
    assert next_job(trials, ladder(), may_start=True) == Job(number=2, level=1, first=0)


def test_a_stopped_trial_counts_in_its_rung_but_is_not_promoted() -> None:
    trials = [trial(0, {0: 0.9}, "stopped"), trial(1, {0: 0.5}), trial(2, {0: 0.1})]

    assert next_job(trials, ladder(), may_start=True) == Job(number=None, level=0, first=0)


def test_without_new_trials_the_best_goes_on_until_one_is_complete() -> None:
    alone = [trial(0, {0: 0.3})]

    assert next_job(alone, ladder(), may_start=False) == Job(number=0, level=1, first=0)
    done = [trial(0, {0: 0.3, 1: 0.3, 2: 0.3}, "completed"), trial(1, {0: 0.2})]
    assert next_job(done, ladder(), may_start=False) is None
    running = [trial(0, {0: 0.3}, "running"), trial(1, {})]
    assert next_job(running, ladder(), may_start=False) is None


def test_a_trial_that_is_among_the_best_goes_on_without_a_pause() -> None:
    trials = [*rung(0.1, 0.2, 0.3), trial(3, {0: 0.4}, "running")]

    assert verdict(trials, ladder(), number=3, level=0) == "go_on"
    low = [*rung(0.1, 0.2, 0.3), trial(3, {0: 0.05}, "running")]
    assert verdict(low, ladder(), number=3, level=0) == "pause"


@pytest.mark.parametrize(
    ("score", "expected"), [(0.2, "go_on"), (0.19, "stop"), (float("nan"), "stop")]
)
def test_stopping_asha_keeps_the_best_half(score: float, expected: str) -> None:
    trials = [*rung(0.1, 0.2, 0.3), trial(3, {0: score}, "running")]

    assert verdict(trials, ladder(decide="stop"), number=3, level=0) == expected


@pytest.mark.parametrize(("score", "expected"), [(0.2, "go_on"), (0.19, "stop")])
def test_the_median_rule_stops_below_the_median_of_the_others(score: float, expected: str) -> None:
    trials = [*rung(0.1, 0.2, 0.3), trial(3, {0: score}, "running")]

    assert verdict(trials, ladder(decide="median"), number=3, level=0) == expected


def test_the_median_of_two_says_nothing() -> None:
    trials = [*rung(0.5, 0.6), trial(2, {0: 0.1}, "running")]

    assert verdict(trials, ladder(decide="median"), number=2, level=0) == "go_on"


def test_the_last_epoch_stops_nobody() -> None:
    trials = [trial(0, {2: 0.9}, "completed"), trial(1, {2: 0.1}, "running")]

    assert verdict(trials, ladder(decide="stop"), number=1, level=2) == "go_on"


def test_brackets_are_compared_among_themselves() -> None:
    slow = [trial(0, {0: 0.1}, bracket="vit"), trial(1, {0: 0.2}, bracket="vit")]
    fast = [trial(2, {0: 0.8}, bracket="resnet"), trial(3, {0: 0.05}, "running", bracket="vit")]

    assert verdict([*slow, *fast], ladder(), number=3, level=0) == "pause"
    job = next_job([*slow, fast[0]], ladder(), may_start=True)
    assert job == Job(number=1, level=1, first=0)  # the best ResNet has nobody to beat


def test_hyperbands_brackets_share_the_trials_as_its_table_does() -> None:
    # Li et al. 2018, table 1: R = 81, eta = 3 begins with 81, 34, 15, 8, 5 trials.
    config = ladder(rungs=[1, 3, 9, 27], reduction=3, brackets=5)

    shares = bracket_shares(config)

    counts = [81, 34, 15, 8, 5]
    assert shares == pytest.approx([count / sum(counts) for count in counts], abs=0.01)


def test_new_trials_go_to_the_bracket_that_is_farthest_behind() -> None:
    config = ladder(brackets=2)
    begun: list[Observed] = []
    for number in range(40):
        first = bracket_of_next(begun, config)
        begun.append(trial(number, {}, "running", first=first))

    there = [sum(one.first == b for one in begun) for b in (0, 1)]
    assert there == pytest.approx([40 * share for share in bracket_shares(config)], abs=1)


def test_the_ladder_grows_only_when_two_rungs_disagree() -> None:
    config = ladder(growth=True, tolerance=0.02)
    agree = [trial(0, {0: 0.1, 1: 0.2}), trial(1, {0: 0.3, 1: 0.4})]
    noise = [*agree, trial(2, {0: 0.31, 1: 0.39})]
    disagree = [*agree, trial(2, {0: 0.5, 1: 0.25})]

    assert highest_in_use(agree, config) == 1
    assert highest_in_use(noise, config) == 1
    assert highest_in_use(disagree, config) == 2
    assert highest_in_use(agree, ladder()) == 2


def test_nobody_climbs_above_the_highest_rung_in_use() -> None:
    config = ladder(growth=True)
    trials = [trial(0, {0: 0.1, 1: 0.2}), trial(1, {0: 0.3, 1: 0.4})]

    assert next_job(trials, config, may_start=True) == Job(number=None, level=0, first=0)


def both(number: int, accuracy: float, cheapness: float, *, goal: int = 0) -> Observed:
    """A trial with two objectives."""
    status = "running" if goal else "paused"
    values = {0: (accuracy, cheapness)}
    return Observed(number=number, status=status, params={}, values=values, goal=goal)


def test_with_two_objectives_a_rung_is_not_held_to_its_share() -> None:
    """Two of four went up already, which is their share of one objective."""
    before = [both(0, 0.1, 0.1, goal=1), both(1, 0.2, 0.05, goal=1), both(2, 0.05, 0.0)]
    trials = [*before, both(3, 0.9, 0.9)]
    held = [trial(t.number, {0: t.values[0][0]}, t.status) for t in trials]
    held = [replace(one, goal=two.goal) for one, two in zip(held, trials, strict=True)]

    job = next_job(trials, ladder(), may_start=True)

    assert job is not None
    assert job.number == 3
    assert next_job(held, ladder(), may_start=True) == Job(number=None, level=0, first=0)


def test_with_two_objectives_the_first_front_goes_on() -> None:
    trials = [both(0, 0.1, 0.1), both(1, 0.9, 0.2), both(2, 0.2, 0.9), both(3, 0.15, 0.15)]

    promoted = next_job(trials, ladder(), may_start=True)

    assert promoted is not None
    assert promoted.number in (1, 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rungs": [6, 3]}, "rungs .* must rise"),
        ({"grow": {"data.train_images": [1, 2]}}, "grow needs kind=ladder"),
        ({"survivors": "continue"}, "survivors needs kind=ladder"),
        ({"growth": True, "decide": "stop"}, "growth needs decide=promote"),
        ({"tolerance": 0.1}, "tolerance is read only with growth"),
        ({"decide": "none", "bracket_by": "model"}, "bracket_by needs rungs that decide"),
        ({"decide": "pbt"}, "decide=pbt needs kind=ladder, survivors=continue"),
        ({"kind": "ladder", "decide": "median"}, "decide=median needs kind=asha"),
        ({"decide": "none", "brackets": 2}, "brackets needs rungs that decide"),
        ({"brackets": 4}, r"brackets \(4\) must be at most"),
        ({"kind": "ladder", "grow": {"attack.steps": [1]}}, "needs a value for each of the 2"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ladder(**fields)
