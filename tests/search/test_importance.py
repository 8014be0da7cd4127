from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from records_factory import check, progress, record

from search.importance import axis_importance
from search.records import Status, TrialRecord

SPACE: dict[str, BaseDistribution] = {
    "attack.name": CategoricalDistribution(["pgd", "apgd"]),
    "optim.lr": FloatDistribution(1e-4, 1e-1, log=True),
}


def frozen(records: list[TrialRecord], space: dict[str, BaseDistribution]) -> list[Any]:
    trials = [
        optuna.trial.create_trial(
            params={path: r.params[path] for path in space}, distributions=space, value=0.0
        )
        for r in records
    ]
    for trial, r in zip(trials, records, strict=True):
        trial.number = r.number
    return trials


def checked(number: int, status: Status, robust: int) -> TrialRecord:
    """Returns a trial with `robust` of 100 images right at its last epoch, 3 or 12."""
    epochs = 12 if status == "completed" else 3
    made = record(number, status=status, epochs=epochs, params=params(number, status))
    *before, last = progress(epochs).history
    last = last.model_copy(update={"check": check(90, robust, n=100)})
    history = (*before, last)
    return made.model_copy(
        update={"progress": progress(epochs).model_copy(update={"history": history})}
    )


def params(number: int, status: Status) -> dict[str, Any]:
    name = "apgd" if status == "completed" else "pgd"
    return {"attack.name": name, "optim.lr": 0.001 * (number + 1)}


def test_the_axis_that_decides_is_the_most_important() -> None:
    records = [
        record(
            n,
            status="completed" if n % 2 else "stopped",
            epochs=12 if n % 2 else 3,
            top=0.5 if n % 2 else 0.1,
            params={"attack.name": "apgd" if n % 2 else "pgd", "optim.lr": 0.001 * (1 + n // 2)},
        )
        for n in range(12)
    ]

    importance = axis_importance(records, frozen(records, SPACE))

    assert importance.n == 12
    assert next(iter(importance.shares)) == "attack.name"
    assert sum(importance.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("tops", "axes", "reason"),
    [
        ([0.1, 0.2, 0.3], ["optim.lr", "attack.name"], "needs 4 trials"),
        ([0.1, 0.2, 0.3, 0.4], ["optim.lr"], "needs two axes"),
        ([0.0, 0.0, 0.0, 0.0], ["optim.lr", "attack.name"], "the trials tie"),
    ],
)
def test_importance_says_why_it_is_missing(tops: list[float], axes: list[str], reason: str) -> None:
    records = [record(n, top=top) for n, top in enumerate(tops)]
    if reason == "the trials tie":
        records = [r.model_copy(update={"progress": records[0].progress}) for r in records]

    importance = axis_importance(records, frozen(records, {axis: SPACE[axis] for axis in axes}))

    assert importance.shares == {}
    assert reason in importance.reason


def test_a_diagnosed_trial_counts_like_a_stopped_one() -> None:
    completed = [checked(n, "completed", 38 + n) for n in (0, 1)]
    stopped = [checked(n, "stopped", 5 + n) for n in (2, 3, 4, 5)]
    diagnosed = [one.model_copy(update={"status": "diagnosed"}) for one in stopped]

    ended = [*completed, *diagnosed]

    likewise = [*completed, *stopped]
    expected = axis_importance(likewise, frozen(likewise, SPACE))
    assert expected.shares
    assert axis_importance(ended, frozen(ended, SPACE)) == expected


@pytest.mark.parametrize("early", [10, 40, 60])
def test_a_stopped_trial_is_never_above_a_completed_one(early: int) -> None:
    # At rung 3 the stopped one had more than a completed one has at the end; the third is of two.
    completed = [checked(0, "completed", 42), checked(1, "completed", 38)]
    stopped = [checked(2, "stopped", early), *(checked(n, "stopped", 5 + n) for n in (3, 4, 5))]
    records = [*completed, *stopped]

    importance = axis_importance(records, frozen(records, SPACE))

    weak = [*completed, *(checked(n, "stopped", 5 + n) for n in (2, 3, 4, 5))]
    assert importance == axis_importance(weak, frozen(weak, SPACE))


def test_stopped_trials_keep_their_order_among_themselves() -> None:
    # The third is of two: the completed one and the best of the stopped ones.
    best_is_like = checked(0, "completed", 10), checked(1, "stopped", 40)
    rest = [checked(n, "stopped", 20 + n) for n in (2, 3, 4, 5)]
    records = [*best_is_like, *rest]
    swapped = [best_is_like[0], checked(1, "stopped", 5), *rest]

    importance = axis_importance(records, frozen(records, SPACE))

    assert importance.shares != axis_importance(swapped, frozen(swapped, SPACE)).shares
