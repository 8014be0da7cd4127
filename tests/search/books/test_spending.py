"""What is spent, and when a cap is met."""

from pathlib import Path
from typing import Any

import pytest
from records_factory import record

from search.books.spending import (
    Clock,
    Sitting,
    Spent,
    busy_seconds,
    cap_met,
    price_of,
    read_sittings,
    spent_of,
)
from search.resources import WorkersConfig
from search.strategy.config import BudgetConfig


def workers(**fields: Any) -> WorkersConfig:
    return WorkersConfig.model_validate(
        {
            "workers": 2,
            "min_workers": 1,
            "cpus_per_worker": 3,
            "gpus_per_worker": 0,
            "worker_restarts": 0,
            **fields,
        }
    )


def spent(**fields: float) -> Spent:
    return Spent.model_validate(
        {"trials": 0, "hours": 0.0, "device_hours": 0.0, "spend": 0.0, **fields}
    )


def test_device_hours_are_busy_seconds_times_what_a_trial_holds() -> None:
    one = record(0, epochs=12)

    # 12 epochs of 10 s, three checks of 2 s, a start-up of 6 s.
    assert busy_seconds(one) == 12 * 10 + 3 * 2 + 6
    on_cores = spent_of([one], [], workers())
    on_gpus = spent_of([one], [], workers(gpus_per_worker=0.5))
    assert on_cores.device_hours == pytest.approx(132 * 6 / 3600)
    assert on_gpus.device_hours == pytest.approx(132 * 1 / 3600)


def test_a_failed_trial_that_was_tried_again_is_no_trial_of_the_budget() -> None:
    failed = record(0, status="failed", epochs=0)
    again = record(1).model_copy(update={"retry_of": failed.key})

    assert spent_of([failed], [], workers()).trials == 1
    assert spent_of([failed, again], [], workers()).trials == 1


def sitting(began: float, hours: float, spend: float, cluster: str) -> Sitting:
    return Sitting(began=began, seconds=3600 * hours, spend=spend, cluster=cluster)


def test_one_after_the_other_adds_up() -> None:
    sittings = [sitting(0.0, 0.5, 2.0, "a"), sitting(9000.0, 1.0, 0.5, "a")]

    found = spent_of([], sittings, workers())

    assert (found.hours, found.spend) == (1.5, 2.5)


def test_processes_at_once_share_the_hours_and_the_cluster_that_they_work_on() -> None:
    """Of three hours with 6 per hour, the second and third are shared with another process."""
    long = sitting(0.0, 3.0, 18.0, "a")
    short = sitting(3600.0, 2.0, 12.0, "a")
    elsewhere = sitting(3600.0, 4.0, 8.0, "b")

    assert spent_of([], [long, short], workers()).spend == pytest.approx(18.0)
    found = spent_of([], [long, short, elsewhere], workers())
    assert found.spend == pytest.approx(18.0 + 8.0)
    assert found.hours == pytest.approx(5.0)


def test_a_cluster_that_grew_is_paid_at_its_highest_price() -> None:
    alone, joined = sitting(0.0, 1.0, 6.0, "a"), sitting(1800.0, 1.0, 9.0, "a")

    assert spent_of([], [alone, joined], workers()).spend == pytest.approx(3.0 + 9.0)


def test_the_clock_is_on_disk_after_each_look(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "a.json", cluster="", look_s=0.0)
    first = read_sittings(tmp_path)[0]

    clock.tick(price_per_hour=3600.0)

    (after,) = read_sittings(tmp_path)
    assert first.seconds == 0.0
    assert after.seconds > 0
    assert after.spend == pytest.approx(after.seconds)


def test_the_first_cap_that_is_met_is_named() -> None:
    budget = BudgetConfig(trials=3, hours=2.0, device_hours=8.0)

    assert cap_met(budget, spent(trials=99, hours=1.9, device_hours=7.9)) == ""
    assert cap_met(budget, spent(hours=2.0)) == "budget.hours = 2 is spent (2)"
    assert "budget.device_hours = 8" in cap_met(budget, spent(device_hours=8.5))


def test_a_cluster_costs_what_its_nodes_cost() -> None:
    prices = {"gpu": 3.0, "default": 0.25}

    assert price_of(["gpu", "gpu", "head"], prices) == 6.25
    with pytest.raises(ValueError, match=r"no price for node type 'head', only for \['gpu'\]"):
        price_of(["gpu", "head"], {"gpu": 3.0})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "a search needs an end: trials, hours, device_hours or spend"),
        ({"trial_hours": 1.0}, "a search needs an end"),
        ({"spend": 5.0}, "spend and prices belong together"),
        ({"trials": 5, "prices": {"a": 1.0}}, "spend and prices belong together"),
    ],
)
def test_a_budget_without_an_end_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BudgetConfig.model_validate(fields)
