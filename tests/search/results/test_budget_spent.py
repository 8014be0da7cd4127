from pathlib import Path

import pytest
from records_factory import experiment, full_run, record, result, search_records, write_search

from search.books.spending import spent_of
from search.results.budget_spent import expenses, origin_kind, read_reference_seconds
from trainers.atomic import write_atomically

WORKERS = experiment(Path("/nowhere")).resources
"""Two workers of one thread."""
GPUS = WORKERS.model_copy(update={"gpus_per_worker": 0.5, "cpus_per_worker": 4})


def test_hours_of_a_trial_are_seconds_times_the_devices_of_its_workers() -> None:
    # 12 epochs of 10 s, 3 checks of 2 s, 6 s until the first step; all held by two cores.
    found = expenses([record(0)], [], reference_seconds={}, workers=WORKERS)

    hours = {one.what: one.device_hours * 3600 for one in found}
    assert hours == pytest.approx({"completed trials": 240, "early checks": 12, "start-up": 12})


def test_where_workers_have_gpus_hours_are_theirs() -> None:
    found = expenses([record(0)], [], reference_seconds={}, workers=GPUS)

    assert found[0].device_hours * 3600 == pytest.approx(120 * 2 * 0.5)


def test_the_reference_attack_is_run_by_one_worker() -> None:
    promoted = [(full_run("t00003", origin="recipe:light"), result(clean=150, robust=96))]

    found = expenses([], promoted, reference_seconds={"t00003": 360.0}, workers=WORKERS)

    assert [(one.what, one.origin) for one in found] == [
        ("reference attack", "recipes"),
        ("full runs", "recipes"),
        ("early checks", "recipes"),
    ]
    assert [one.device_hours for one in found] == pytest.approx([0.1, 240 / 3600, 12 / 3600])


def test_trials_cost_as_much_as_the_budget_counts() -> None:
    records = search_records()
    records[4] = records[4].model_copy(update={"sessions": 3})

    found = expenses(records, [], reference_seconds={}, workers=WORKERS)

    counted = spent_of(records, [], WORKERS).device_hours
    assert sum(one.device_hours for one in found) == pytest.approx(counted)


def test_the_dearest_kind_comes_first_and_origins_are_taken_together() -> None:
    records = [
        record(0, origin="recipe:canonical"),
        record(1, origin="recipe:light"),
        record(2, origin="tpe", status="stopped", epochs=3),
        record(3, origin="study:old", status="paused", epochs=6),
    ]

    found = expenses(records, [], reference_seconds={}, workers=WORKERS)

    trials = [(one.what, one.origin) for one in found if one.what.endswith("trials")]
    assert trials == [
        ("completed trials", "recipes"),
        ("paused trials", "earlier studies"),
        ("stopped trials", "tpe"),
    ]


@pytest.mark.parametrize(
    ("origin", "kind"),
    [("recipe:light", "recipes"), ("study:a:b", "earlier studies"), ("tpe", "tpe")],
)
def test_an_origin_is_known_by_what_stands_before_its_colon(origin: str, kind: str) -> None:
    assert origin_kind(origin) == kind


def test_the_time_of_the_reference_attack_is_read_where_it_has_ended(tmp_path: Path) -> None:
    folder = write_search(tmp_path)
    write_atomically(folder.promoted / "t00003" / "timing.json", '{"seconds": 12.5}\n')

    assert read_reference_seconds(folder) == {"t00003": 12.5}
