"""What a trial takes on average under a ladder."""

import random
from dataclasses import replace
from typing import Any

import pytest
from base_trial import base_trial

from search.plan.climb import Climb, expected_climb, whole_climb
from search.strategy.config import LadderConfig
from search.strategy.ladder import next_job, verdict
from search.strategy.observed import Observed
from trainers.config import TrialConfig

RACE = {"first_block": 8, "alpha": 0.05}
BASE = TrialConfig.model_validate(base_trial(epochs=12))
ANEW = {"kind": "ladder", "survivors": "anew"}


def ladder(**changes: Any) -> LadderConfig:
    return LadderConfig.model_validate({"rungs": [3, 6], "reduction": 2, "race": RACE} | changes)


@pytest.mark.parametrize(
    ("changes", "epochs", "checks", "sessions"),
    [
        ({}, 3 + 3 / 2 + 6 / 4, 1.75, 1.75),
        ({"reduction": 3}, 3 + 3 / 3 + 6 / 9, 1 + 1 / 3 + 1 / 9, 1 + 1 / 3 + 1 / 9),
        ({"decide": "stop"}, 6.0, 1.75, 1.0),
        ({"decide": "median", "reduction": 4}, 6.0, 1.75, 1.0),
        (
            {"kind": "ladder", "survivors": "continue", "decide": "pbt", "reduction": 4},
            12.0,
            3.0,
            3.0,
        ),
        ({"decide": "none"}, 12.0, 3.0, 1.0),
        ({"rungs": []}, 12.0, 1.0, 1.0),
        (ANEW, 3 + 6 / 2 + 12 / 4, 1.75, 1.75),
        ({"kind": "ladder", "survivors": "continue"}, 6.0, 1.75, 1.75),
        # Brackets of 2 and 1 halvings, in Hyperband's proportions 4/3 to 2/2.
        (
            {"brackets": 2},
            (4 * 6 + 3 * (6 + 6 / 2)) / 7,
            (4 * 1.75 + 3 * 2.5) / 7,
            (4 * 1.75 + 3 * 1.5) / 7,
        ),
        # Half of the images are 1 batch of 8 in place of 3.
        (ANEW | {"grow": {"data.train_images": [12, 24]}}, 3 / 3 + 6 / 2 + 12 / 4, 1.75, 1.75),
        # One step of the attack takes 6 passes, two take 8.
        (ANEW | {"grow": {"attack.steps": [1, 2]}}, 3 * 6 / 8 + 6 / 2 + 12 / 4, 1.75, 1.75),
    ],
)
def test_a_mean_is_the_sum_over_rungs_of_who_gets_there(
    changes: dict[str, Any], epochs: float, checks: float, sessions: float
) -> None:
    climb = expected_climb(BASE, ladder(**changes))

    assert climb.epochs == pytest.approx(epochs)
    assert climb.checks == pytest.approx(checks)
    assert climb.sessions == pytest.approx(sessions)


def test_a_trial_that_goes_on_from_every_rung_takes_them_all() -> None:
    assert whole_climb(BASE, ladder()) == Climb(epochs=12.0, checks=3.0, sessions=3.0)
    assert whole_climb(BASE, ladder(**ANEW)).epochs == 3 + 6 + 12


@pytest.mark.parametrize("changes", [{}, {"reduction": 3}, {"brackets": 2}])
def test_the_mean_is_what_many_trials_take_by_the_rules_of_the_ladder(
    changes: dict[str, Any],
) -> None:
    rules = ladder(**changes)

    epochs = _simulated_epochs(rules, trials=240)

    assert epochs == pytest.approx(expected_climb(BASE, rules).epochs, rel=0.05)


def _simulated_epochs(rules: LadderConfig, *, trials: int) -> float:
    """Returns the mean epochs of trials that run one after another and show random values."""
    draw, seen = random.Random(0), list[Observed]()
    while job := next_job(seen, rules, may_start=len(seen) < trials):
        if job.number is None:
            seen.append(_new(len(seen), first=job.first))
        number = len(seen) - 1 if job.number is None else job.number
        values = {**seen[number].values, job.level: (draw.random(),)}
        seen[number] = replace(seen[number], status="running", values=values, goal=job.level)
        is_whole = job.level == rules.top
        if not is_whole:
            # Whoever may go on at once is asked again by `next_job` here, as if it had paused.
            assert verdict(seen, rules, number=number, level=job.level) in ("pause", "go_on")
        seen[number] = replace(seen[number], status="completed" if is_whole else "paused")
    ends = [rules.epoch_of(max(one.values), epochs=BASE.epochs) for one in seen]
    return sum(ends) / len(ends)


def _new(number: int, *, first: int) -> Observed:
    return Observed(
        number=number,
        status="running",
        values={},
        goal=first,
        bracket=str(first),
        first=first,
        params={},
    )
