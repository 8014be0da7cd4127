"""What a trial takes on average under a ladder."""

import random
from typing import Any

import pytest
from base_trial import base_trial

from search.climb import Climb, expected_climb, whole_climb
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
        ({"decide": "none"}, 12.0, 3.0, 1.0),
        ({"rungs": []}, 12.0, 1.0, 1.0),
        (ANEW, 3 + 6 / 2 + 12 / 4, 1.75, 1.75),
        ({"kind": "ladder", "survivors": "continue"}, 6.0, 1.75, 1.75),
        # Brackets of 2 and 1 halvings, in Hyperband's proportions 4/3 to 2/2.
        (
            {"brackets": 2},
            (4 * 6 + 3 * (6 + 6 / 2)) / 7,
            (4 * 1.75 + 3 * 2.5) / 7,
            12.5 / 7 - 0.25 / 7,
        ),
        # Half of the images: 1 batch of 8 in place of 3.
        (ANEW | {"grow": {"data.train_images": [12, 24]}}, 3 / 3 + 6 / 2 + 12 / 4, 1.75, 1.75),
        # 1 step in place of 2: 6 passes in place of 8.
        (ANEW | {"grow": {"attack.steps": [1, 2]}}, 3 * 6 / 8 + 6 / 2 + 12 / 4, 1.75, 1.75),
    ],
)
def test_a_mean_is_the_sum_over_rungs_of_who_gets_there(
    changes: dict[str, Any], epochs: float, checks: float, sessions: float
) -> None:
    climb = expected_climb(BASE, ladder(**changes))

    assert climb.epochs == pytest.approx(epochs)
    assert climb.checks == pytest.approx(checks)
    if "brackets" not in changes:
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
    """Returns the epochs of a trial, on average, one after another, their ranks all independent."""
    draw, ends = random.Random(0), [*rules.rungs, 12]
    seen: list[Observed] = []
    while job := next_job(seen, rules, may_start=len(seen) < trials):
        if job.number is None:
            old, number = None, len(seen)
        else:
            old, number = seen[job.number], job.number
        one = Observed(
            number=number,
            status="running",
            values=(old.values if old else {}) | {job.level: (draw.random(),)},
            goal=job.level,
            bracket=str(job.first),
            first=job.first,
            params={},
        )
        seen[number:] = [one, *seen[number + 1 :]]
        is_over = job.level == rules.top
        say = "completed" if is_over else verdict(seen, rules, number=number, level=job.level)
        status = "completed" if is_over else "paused"
        assert say in ("completed", "pause", "go_on")
        seen[number] = Observed(
            number=number,
            status=status,
            values=one.values,
            goal=one.goal,
            bracket=one.bracket,
            first=one.first,
            params={},
        )
    return sum(ends[max(one.values)] for one in seen) / len(seen)
