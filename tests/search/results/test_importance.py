import importlib.util
from typing import Any

import pytest
from records_factory import check, progress, record

from search.books.records import Status, TrialRecord
from search.results.importance import Importance, axis_importance
from search.space.space import ChoiceAxis, LogUniformAxis, Space

SPACE: Space = {
    "attack.name": ChoiceAxis.model_validate({"choice": ["pgd", "apgd"]}),
    "optim.lr": LogUniformAxis.model_validate({"log_uniform": [1e-4, 1e-1]}),
}
HAS_FOREST = importlib.util.find_spec("sklearn") is not None


def importance_of(records: list[TrialRecord], space: Space = SPACE) -> Importance:
    return axis_importance(records, space, objective="robust", method="PED-ANOVA")


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
    return at(number, "apgd" if status == "completed" else "pgd")


def at(number: int, attack: str) -> dict[str, Any]:
    return {"attack.name": attack, "optim.lr": 0.001 * (number + 1)}


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

    importance = importance_of(records)

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

    importance = importance_of(records, {axis: SPACE[axis] for axis in axes})

    assert importance.shares == {}
    assert reason in importance.reason


def test_a_diagnosed_trial_counts_like_a_stopped_one() -> None:
    completed = [checked(n, "completed", 38 + n) for n in (0, 1)]
    stopped = [checked(n, "stopped", 5 + n) for n in (2, 3, 4, 5)]
    diagnosed = [one.model_copy(update={"status": "diagnosed"}) for one in stopped]

    ended = [*completed, *diagnosed]

    likewise = [*completed, *stopped]
    expected = importance_of(likewise)
    assert expected.shares
    assert importance_of(ended) == expected


def test_a_trial_at_a_higher_rung_is_above_one_at_a_lower() -> None:
    # The best third is of two of six: those at epoch 6, whatever the others showed at epoch 3.
    high = [record(n, status="paused", epochs=6, top=0.2, params=at(n, "apgd")) for n in (0, 1)]
    low = [record(n, status="stopped", epochs=3, top=0.9, params=at(n, "pgd")) for n in range(2, 6)]

    importance = importance_of([*high, *low])

    weak = [
        record(n, status="stopped", epochs=3, top=0.1, params=at(n, "pgd")) for n in range(2, 6)
    ]
    assert importance.shares
    assert importance == importance_of([*high, *weak])


def test_another_objective_orders_the_trials_otherwise() -> None:
    # Of the factory's checks clean and robust accuracy rise together; training costs the same.
    records = [record(n, top=0.1 * n, params=at(n, "apgd" if n > 3 else "pgd")) for n in range(6)]

    by_cost = axis_importance(records, SPACE, objective="seconds", method="PED-ANOVA")

    assert by_cost.reason == "the trials tie: no best third stands out"
    assert importance_of(records).shares


def test_fanova_needs_every_axis_in_every_trial() -> None:
    space: Space = {
        **SPACE,
        "optim.weight_decay": LogUniformAxis.model_validate(
            {"log_uniform": [0.01, 1.0], "when": {"attack.name": ["apgd"]}}
        ),
    }
    with_decay = at(0, "apgd") | {"optim.weight_decay": 0.1}
    records = [record(n, params=at(n, "pgd")) for n in range(1, 6)]
    records.append(record(0, params=with_decay))

    importance = axis_importance(records, space, objective="robust", method="fANOVA")

    assert importance.shares == {}
    assert "only some have optim.weight_decay" in importance.reason


@pytest.mark.skipif(HAS_FOREST, reason="scikit-learn is installed")
def test_without_scikit_learn_fanova_says_how_to_get_it() -> None:
    records = [record(n, top=0.1 * n) for n in range(6)]

    importance = axis_importance(records, SPACE, objective="robust", method="fANOVA")

    assert importance.reason.endswith("not installed: pip install scikit-learn")


@pytest.mark.skipif(not HAS_FOREST, reason="fANOVA needs scikit-learn")
def test_fanova_finds_the_axis_that_explains_the_order() -> None:
    # The order is that of the rate; the attack alternates along it.
    rates = [1e-4 * 1.3**n for n in range(24)]
    records = [
        checked(n, "completed", 3 * n).model_copy(
            update={"params": {"attack.name": ("pgd", "apgd")[n % 2], "optim.lr": rate}}
        )
        for n, rate in enumerate(rates)
    ]

    importance = axis_importance(records, SPACE, objective="robust", method="fANOVA")

    assert importance.shares["optim.lr"] > 0.9
    assert sum(importance.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("early", [10, 40, 60])
def test_a_stopped_trial_is_never_above_a_completed_one(early: int) -> None:
    # At rung 3 the stopped one had more than a completed one has at the end; the third is of two.
    completed = [checked(0, "completed", 42), checked(1, "completed", 38)]
    stopped = [checked(2, "stopped", early), *(checked(n, "stopped", 5 + n) for n in (3, 4, 5))]
    records = [*completed, *stopped]

    importance = importance_of(records)

    weak = [*completed, *(checked(n, "stopped", 5 + n) for n in (2, 3, 4, 5))]
    assert importance == importance_of(weak)


def test_stopped_trials_keep_their_order_among_themselves() -> None:
    # The third is of two: the completed one and the best of the stopped ones.
    best_is_like = checked(0, "completed", 10), checked(1, "stopped", 40)
    rest = [checked(n, "stopped", 20 + n) for n in (2, 3, 4, 5)]
    records = [*best_is_like, *rest]
    swapped = [best_is_like[0], checked(1, "stopped", 5), *rest]

    importance = importance_of(records)

    assert importance.shares != importance_of(swapped).shares
