"""The books of a search, without Ray: what is asked, filed, decided and told."""

import json
from pathlib import Path

import optuna
import pytest
from ledger_factory import Session, experiment, progress, with_probe
from optuna.trial import TrialState

from search.books.records import read_records


def test_the_published_recipes_come_first_and_are_complete(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())

    records = [session.open() for _ in range(4)]

    origins = [record.origin for record in records]
    assert origins == ["recipe:canonical", "recipe:light", "recipe:revisiting", "tpe"]
    assert records[1].config.optim.weight_decay == 0.5
    assert records[1].config.augment.color_jitter == 0.4  # not an axis of the space
    assert records[1].config.attack.name == "pgd"
    assert records[2].config.optim.betas == (0.9, 0.95)


def test_a_trial_outside_the_best_half_of_a_rung_is_stopped_and_told_pruned(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    good, bad = session.open(), session.open()

    assert session.ledger.report(good.key, progress(50), node="n")
    assert not session.ledger.report(bad.key, progress(40), node="n")

    stopped = session.ledger.records[1]
    assert stopped.status == "stopped"
    assert "robust accuracy 0.400 is not among the best 1/2 of 2" in stopped.reason
    assert session.state(bad) == TrialState.PRUNED
    assert session.study.trials[bad.number].value == pytest.approx(0.4)
    assert session.state(good) == TrialState.RUNNING


def test_a_completed_trial_is_told_its_last_check_and_the_last_epoch_never_stops_it(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", experiment())
    first, second = session.open(), session.open()
    session.ledger.report(first.key, progress(50, 60, -1, 70), node="n")
    session.ledger.finish(first.key)

    assert session.ledger.report(second.key, progress(55, 65, -1, 50), node="n")
    session.ledger.finish(second.key)

    assert session.study.trials[first.number].value == pytest.approx(0.7)
    assert session.study.trials[second.number].value == pytest.approx(0.5)
    assert session.study.trials[first.number].intermediate_values == {1: 0.5, 2: 0.6, 4: 0.7}


def test_a_trial_that_collapses_is_ended_with_the_diagnosis_and_told_pruned(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    assert session.ledger.report(record.key, progress(60), node="n")

    assert not session.ledger.report(record.key, progress(60, 20), node="n")
    session.ledger.finish(record.key)

    (stored,) = read_records(session.folder.trials)
    assert stored.status == "diagnosed"
    assert stored.reason == (
        "catastrophic overfitting: robust accuracy fell from 60.0% at epoch 1 to 20.0% at epoch 2 "
        "(n=100), by more than 18.0%"
    )
    assert [(one.name, one.ends_trial) for one in stored.diagnoses] == [
        ("catastrophic overfitting", True)
    ]
    assert session.state(record) == TrialState.PRUNED


def test_a_collapse_at_the_last_epoch_is_no_completed_trial(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()

    assert not session.ledger.report(record.key, progress(50, 60, -1, 20), node="n")
    session.ledger.finish(record.key)

    assert session.ledger.records[0].status == "diagnosed"
    assert session.state(record) == TrialState.PRUNED


def test_a_collapse_is_the_reason_also_where_the_rung_would_have_stopped_the_trial(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", experiment())
    good, bad = session.open(), session.open()
    session.ledger.report(good.key, progress(50, 60), node="n")
    session.ledger.report(bad.key, progress(55), node="n")

    assert not session.ledger.report(bad.key, progress(55, 10), node="n")

    assert session.ledger.records[1].status == "diagnosed"


def test_a_flag_is_stored_and_the_trial_goes_on(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    leaking = with_probe(progress(50), pgd1=70, pgd10=58)  # clean accuracy is 0.6

    assert session.ledger.report(record.key, leaking, node="n")

    (stored,) = read_records(session.folder.trials)
    assert stored.status == "running"
    (flag,) = stored.diagnoses
    assert (flag.name, flag.ends_trial) == ("label leaking", False)


def test_a_record_of_a_version_before_probes_is_read(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    session.ledger.report(record.key, progress(50), node="n")
    path = session.folder.record(record.key)
    tree = json.loads(path.read_text())
    del tree["diagnoses"], tree["progress"]["history"][0]["check"]["probe"]

    path.write_text(json.dumps(tree))

    (old,) = read_records(session.folder.trials)
    assert old.diagnoses == ()
    assert old == session.ledger.records[0]


def test_a_failure_is_a_row_with_its_reason_and_the_sampler_is_told(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()

    session.ledger.fail(record.key, "FloatingPointError: loss is nan", "Traceback ...")

    (row,) = read_records(session.folder.trials)
    assert (row.status, row.reason) == ("failed", "FloatingPointError: loss is nan")
    assert session.state(record) == TrialState.FAIL
    assert session.study.trials[0].user_attrs["reason"] == row.reason


def test_a_driver_that_ends_early_without_error_is_a_failure(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    session.ledger.report(record.key, progress(50), node="n")

    session.ledger.finish(record.key)

    assert session.ledger.records[0].reason == "ended after epoch 1 of 4"


def test_a_resume_issues_the_unfinished_trials_first_under_their_keys(tmp_path: Path) -> None:
    config = experiment()
    before = Session(tmp_path / "s", config)
    done, running = before.open(), before.open()
    before.ledger.report(done.key, progress(50, 50, 50, 50), node="n")
    before.ledger.finish(done.key)
    before.ledger.report(running.key, progress(90), node="n")

    after = Session(tmp_path / "s", config)
    again = after.open()

    assert (again.key, again.params, again.config) == (running.key, running.params, running.config)
    assert again.progress == progress(90)
    assert after.open().number == 2
    assert after.ledger.records[1].sessions == 2
    assert len(after.study.trials) == 3


def test_a_resumed_report_does_not_judge_a_rung_twice(tmp_path: Path) -> None:
    config = experiment()
    before = Session(tmp_path / "s", config)
    first = before.open()
    before.ledger.report(first.key, progress(50), node="n")
    second = before.open()
    before.ledger.report(second.key, progress(90), node="n")

    after = Session(tmp_path / "s", config)
    assert after.open().key == first.key

    # At rung 1 the trial went on; the better score that came later must not stop it now.
    assert after.ledger.report(first.key, progress(50), node="n")
    assert after.ledger.report(first.key, progress(50, 55), node="n")


def test_a_rung_that_a_kill_hid_is_judged_when_the_history_comes_again(tmp_path: Path) -> None:
    config = experiment()
    before = Session(tmp_path / "s", config)
    good, bad = before.open(), before.open()
    before.ledger.report(good.key, progress(50), node="n")
    # The worker of `bad` saved epoch 1, but the kill came before its report.
    after = Session(tmp_path / "s", config)
    assert [after.open().key, after.open().key] == [good.key, bad.key]

    assert not after.ledger.report(bad.key, progress(40), node="n")


def test_a_kill_between_the_record_and_the_study_is_repaired(tmp_path: Path) -> None:
    config = experiment()
    before = Session(tmp_path / "s", config)
    record = before.open()
    before.ledger.report(record.key, progress(50, 50, 50, 70), node="n")
    finished = before.ledger.records[0].model_copy(update={"status": "completed"})
    before.folder.record(record.key).write_text(finished.model_dump_json())

    after = Session(tmp_path / "s", config)

    assert after.state(record) == TrialState.COMPLETE
    assert after.study.trials[0].value == pytest.approx(0.7)
    assert after.open().number == 1


def test_the_budget_ends_the_search(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment(**{"budget.trials": 2}))
    for _ in range(2):
        record = session.open()
        assert not session.ledger.is_finished
        session.ledger.fail(record.key, "x", "")

    assert session.ledger.next_trial() is None
    assert session.ledger.is_finished


def test_a_resumed_sampler_does_not_repeat_its_points(tmp_path: Path) -> None:
    config = experiment(warm_start=[], **{"sampler": {"name": "random", "seed": 0}})
    first = [Session(tmp_path / "s", config).ledger.next_trial() for _ in range(1)]
    session = Session(tmp_path / "s", config)
    session.ledger.next_trial()  # the unfinished one
    second = session.ledger.next_trial()

    assert first[0] is not None
    assert second is not None
    assert first[0].params != second.params


def test_start_up_is_measured_once_from_the_first_start(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    started_at = session.ledger.records[0].started_at
    assert started_at is not None

    session.ledger.report(record.key, progress(50, first_step_at=started_at + 5.0), node="n")
    session.ledger.report(record.key, progress(50, 50, first_step_at=started_at + 99.0), node="n")

    assert session.ledger.records[0].startup_s == pytest.approx(5.0)


def test_two_searches_never_share_a_study(tmp_path: Path) -> None:
    Session(tmp_path / "a", experiment()).open()
    other = Session(tmp_path / "b", experiment())

    assert len(other.study.trials) == 3
    assert all(t.state == TrialState.WAITING for t in other.study.trials)
    assert len(optuna.get_all_study_summaries(f"sqlite:///{other.folder.study}")) == 1
