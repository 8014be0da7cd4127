"""The budget of a search: caps, hours, limits of one trial, and trials beyond it."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from ledger_factory import Session, progress, statuses
from ledger_factory import promoting as experiment
from optuna.trial import TrialState

from search.books.spending import Clock
from search.folder import SearchFolder


def test_a_cap_pauses_what_runs_and_a_larger_one_goes_on_with_it(tmp_path: Path) -> None:
    folder = SearchFolder(root=tmp_path / "s")
    session = Session(folder.root, experiment(**{"budget.device_hours": 1.9 / 3600}))
    record = session.open()
    assert record.started_at is not None
    begun = record.started_at
    assert session.ledger.report(record.key, progress(-1, first_step_at=begun), node="n")

    assert session.ledger.cap == ""
    session.ledger.report(record.key, progress(-1, -1, first_step_at=begun), node="n")
    assert session.ledger.cap.startswith("budget.device_hours = 0.000527778 is spent")
    assert session.ledger.next_trial() is None
    session.ledger.suspend()
    assert statuses(session) == ["paused"]
    assert session.ledger.is_finished

    more = Session(folder.root, experiment(**{"budget.device_hours": 1.0}))
    assert more.open().key == record.key


def test_the_wall_time_of_all_sittings_counts(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment(**{"budget.hours": 1e-9}))
    clock = Clock(session.folder.sittings / "me.json", cluster="", look_s=0.0)

    clock.tick(price_per_hour=0.0)

    assert session.ledger.next_trial() is None
    assert session.ledger.is_finished


def test_a_trial_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment(**{"budget.trial_hours": 1.5 / 3600}))
    record = session.open()
    assert session.ledger.report(record.key, progress(-1), node="n")

    assert not session.ledger.report(record.key, progress(-1, -1), node="n")

    stopped = session.ledger.records[0]
    assert stopped.status == "stopped"
    assert stopped.reason.startswith("budget.trial_hours = 0.000416667 is over at epoch 2")


def test_a_failed_sample_is_tried_again_once_as_a_new_trial_beyond_the_budget(
    tmp_path: Path,
) -> None:
    config = experiment(**{"budget.trials": 1})
    session = Session(tmp_path / "s", config)
    failed = session.open()
    session.ledger.fail(failed.key, "a worker died", "")
    assert session.ledger.is_finished

    assert session.ledger.retry_failed() == 1
    assert session.ledger.retry_failed() == 0  # it is queued already
    again = session.open()

    assert (again.retry_of, again.params) == (failed.key, failed.params)
    assert again.key != failed.key
    assert session.ledger.retry_failed() == 0
    assert session.ledger.spent.trials == 1


def test_device_hours_are_those_of_the_workers_that_a_trial_had(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment(**{"resources.cpus_per_worker": 3}))
    record = session.open()
    assert record.started_at is not None
    shown = progress(-1, first_step_at=record.started_at)
    session.ledger.report(record.key, shown, node="n")
    before = session.ledger.spent.device_hours

    fewer = Session(tmp_path / "s", experiment(**{"resources.cpus_per_worker": 1}))

    assert before == pytest.approx(3 / 3600)
    assert fewer.ledger.spent.device_hours == before


def test_a_retry_does_not_let_warm_starts_beyond_the_budget_begin(tmp_path: Path) -> None:
    warm = ["canonical", "light", "revisiting"]
    session = Session(tmp_path / "s", experiment(**{"budget.trials": 1, "warm_start": warm}))
    failed = session.open()
    session.ledger.fail(failed.key, "a worker died", "")
    assert session.ledger.retry_failed() == 1

    again = session.open()

    assert again.retry_of == failed.key
    assert session.ledger.next_trial() is None
    waiting = session.study.get_trials(states=(TrialState.WAITING,))
    assert len(waiting) == 2


def test_a_kill_between_record_and_study_is_repaired_for_a_trial_that_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was told when the search rested, so the value needs another number in the study."""
    session = Session(tmp_path / "s", experiment(**{"ladder.rungs": [1], "budget.trials": 2}))
    low, high = session.run(10), session.run(60)
    session.ledger.report(high.key, progress(60, -1, -1, 60), node="n")
    session.ledger.finish(high.key)
    session.ledger.rest()
    more = experiment(**{"ladder.rungs": [1], "budget.trials": 4})
    killed = Session(tmp_path / "s", more)
    killed.run(5)
    killed.run(5)
    assert killed.open().key == low.key
    killed.ledger.report(low.key, progress(10, -1, -1, 65), node="n")
    with monkeypatch.context() as patch:
        patch.setattr("search.books.ledger.tell_end", Mock())
        killed.ledger.finish(low.key)
    assert told(killed) == [0.6]

    for _ in range(2):  # the second one finds it told
        assert told(Session(tmp_path / "s", more)) == [0.6, 0.65]


def told(session: Session) -> list[float]:
    complete = session.study.get_trials(states=(TrialState.COMPLETE,))
    return sorted(trial.value for trial in complete if trial.value is not None)
