"""Trials that pause at rungs and go on: promotions, rungs of their own, drivers, populations."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ledger_factory import Session, progress
from ledger_factory import promoting as experiment
from optuna.trial import TrialState

from search.books.drivers import registered
from search.books.observing import observe
from search.config import ExperimentConfig
from search.folder import SearchFolder


def test_a_trial_pauses_at_its_rung_and_goes_on_once_it_is_among_the_best(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())

    first = session.run(50)
    second = session.run(60)  # the better one of two goes on at once
    assert (first.status, first.goal) == ("paused", 1)
    assert (second.status, second.goal) == ("running", 2)
    third = session.run(40)
    fourth = session.run(45)

    assert (third.status, fourth.status) == ("paused", "paused")
    again = session.open()  # the best 2 of 4 are trials 1 and 0
    assert (again.key, again.goal, again.sessions) == (first.key, 2, 2)
    assert session.state(again) == TrialState.RUNNING


def test_a_search_ends_with_the_promised_shares_at_each_rung(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment(**{"budget.trials": 8}))
    scores = [30, 70, 10, 50, 20, 80, 60, 40]

    while not session.ledger.is_finished:
        record = session.open()
        value = scores[record.number]
        checks = [value if epoch in (1, 2, 4) else -1 for epoch in range(1, 5)]
        while session.ledger.report(record.key, progress(*checks[: record.goal or 0]), node="n"):
            record = session.ledger.records[record.number]
            if record.goal == record.epochs == 4:
                session.ledger.finish(record.key)
                break

    reached = Counter[int]()
    for record in session.ledger.records:
        for epoch, _ in record.checks:
            reached[epoch] += 1
    assert reached[1] == 8
    assert 4 <= reached[2] <= 6  # ASHA promotes some that later ones would have pushed out
    assert 2 <= reached[4] <= 4
    assert session.ledger.records[5].status == "completed"  # the best one


def test_what_is_still_paused_at_the_end_is_told_pruned_and_may_come_back(tmp_path: Path) -> None:
    one_rung = {"ladder.rungs": [1]}
    session = Session(tmp_path / "s", experiment(**one_rung, **{"budget.trials": 2}))
    low, high = session.run(10), session.run(60)
    session.ledger.report(high.key, progress(60, -1, -1, 60), node="n")
    session.ledger.finish(high.key)
    assert session.ledger.is_finished
    session.ledger.rest()
    assert session.state(low) == TrialState.PRUNED

    more = Session(tmp_path / "s", experiment(**one_rung, **{"budget.trials": 4}))
    for _ in range(2):
        more.run(5)
    revived = more.open()  # the best 2 of 4

    assert revived.key == low.key
    more.ledger.report(low.key, progress(10, -1, -1, 65), node="n")
    more.ledger.finish(low.key)
    assert more.ledger.records[0].status == "completed"
    told = [t.value for t in more.study.get_trials(states=(TrialState.COMPLETE,))]
    assert sorted(value for value in told if value) == [0.6, 0.65]


@pytest.mark.parametrize("survivors", ["anew", "continue"])
def test_each_rung_of_a_ladder_is_a_complete_schedule_of_its_own(
    survivors: str, tmp_path: Path
) -> None:
    config = experiment(
        **{
            "ladder.kind": "ladder",
            "ladder.survivors": survivors,
            "ladder.grow": {"data.train_images": [384, 768]},
        }
    )
    session = Session(tmp_path / "s", config)

    low, high = session.open(), session.open()
    training = session.ledger.training(high)
    assert (training.epochs, training.data.train_images) == (1, 384)
    assert session.ledger.checkpoints(high).parent.name == "rung1"
    session.ledger.report(low.key, progress(20), node="n")
    assert not session.ledger.report(high.key, progress(60), node="n")  # this training is over
    again = session.open()

    assert (again.key, again.goal, again.epochs) == (high.key, 2, 1)
    training = session.ledger.training(again)
    goes_on = survivors == "continue"
    assert training.epochs == (1 if goes_on else 2)
    assert training.data.train_images == 768
    assert training.weights.init.endswith("rung1/checkpoint/best.pt") == goes_on
    report = progress(70) if goes_on else progress(-1, 70)
    session.ledger.report(again.key, report, node="n")
    record = session.ledger.records[high.number]
    assert [epoch for epoch, _ in record.checks] == [1, 2]
    assert record.train_seconds == (2.0 if goes_on else 3.0)


def test_a_trial_on_its_way_to_a_higher_rung_is_not_judged_at_the_lower_one_again(
    tmp_path: Path,
) -> None:
    config = experiment(
        **{"ladder.kind": "ladder", "ladder.rungs": [2, 4], "base.epochs": 8, "budget.trials": 8}
    )
    session = Session(tmp_path / "s", config)
    session.run(-1, 20)
    climber = session.run(-1, 60)
    assert session.open().key == climber.key
    assert session.ledger.report(climber.key, progress(-1), node="n")
    session.run(-1, 70)
    session.run(-1, 80)  # two are better now

    assert session.ledger.report(climber.key, progress(-1, -1), node="n")

    now = session.ledger.records[climber.number]
    assert (now.status, now.goal) == ("running", 4)
    assert [one.rung for one in now.below] == [2]


def test_a_driver_leaves_the_trials_of_a_living_one_and_takes_those_of_a_dead_one(
    tmp_path: Path,
) -> None:
    config = experiment()
    Session(tmp_path / "s", config)
    folder = SearchFolder(root=tmp_path / "s")
    with registered(folder) as first, registered(folder) as second:
        one, other = (Session(folder.root, config, driver=name) for name in (first, second))
        own, theirs = one.open(), other.open()
        assert {own.key, theirs.key} == {"t00000", "t00001"}

        assert not other.ledger.report(own.key, progress(50), node="n")  # not its own
        assert one.ledger.report(own.key, progress(-1), node="n")

        gone = Session(folder.root, config, driver="host-1-gone")
        orphan = gone.open()
        assert orphan.key == "t00002"
        claimed = other.open()

    assert (claimed.key, claimed.driver, claimed.sessions) == (orphan.key, second, 2)


def test_several_objectives_are_ranked_by_pareto_and_told_in_their_own_units(
    tmp_path: Path,
) -> None:
    config = experiment(objectives=["robust", "gmacs"], **{"budget.trials": 4})
    session = Session(tmp_path / "s", config)
    while (record := session.ledger.next_trial()) is not None:
        checks = [40 + record.number if epoch in (1, 2, 4) else -1 for epoch in range(1, 5)]
        while session.ledger.report(record.key, progress(*checks[: record.goal or 0]), node="n"):
            record = session.ledger.records[record.number]
            if record.epochs == 4:
                session.ledger.finish(record.key)
                break

    complete = session.study.get_trials(states=(TrialState.COMPLETE,))
    assert complete
    for trial in complete:
        robust, gmacs = trial.values
        assert robust == pytest.approx(0.4 + trial.number / 100)
        assert 0 < gmacs < 0.1


def test_families_are_compared_within_their_branch(tmp_path: Path) -> None:
    config = experiment(**{"ladder.bracket_by": "model", "budget.trials": 12})
    session = Session(tmp_path / "s", config)

    records = [session.run(50) for _ in range(6)]

    assert {record.bracket for record in records} == {record.params["model"] for record in records}


def population(**changes: Any) -> ExperimentConfig:
    return experiment(
        **{
            "ladder.kind": "ladder",
            "ladder.survivors": "continue",
            "ladder.decide": "pbt",
            "budget.trials": 4,
            "space": {
                "optim.lr": {"log_uniform": [1e-4, 1e-1]},
                "attack.steps": {"int": [1, 3]},
                "model.depths": {"choice": [[1, 1, 1], [1, 2, 1]]},
            },
            **changes,
        }
    )


def test_the_worst_of_a_population_gives_way_to_a_changed_copy_of_the_best(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", population())
    best, low = session.open(), session.open()
    assert not session.ledger.report(best.key, progress(70), node="n")
    assert not session.ledger.report(low.key, progress(10), node="n")
    best, low = session.ledger.records

    assert (low.status, low.gave_way_at) == ("stopped", 1)
    assert "rung 1: robust accuracy 0.100 is among the worst 1/2 of 2" in low.reason
    assert session.state(low) == TrialState.PRUNED
    again = session.open()  # the best one goes on to its next rung
    assert (again.key, again.goal) == (best.key, 2)
    copy = session.open()

    assert (copy.origin, copy.replaces, copy.goal) == (f"copy:{best.key}", low.key, 2)
    assert copy.params["model.depths"] == best.params["model.depths"]
    assert copy.params["optim.lr"] != best.params["optim.lr"]
    training = session.ledger.training(copy)
    assert training.weights.init.endswith(f"{best.key}/rung1/checkpoint/best.pt")
    assert training.epochs == 1
    assert copy.epochs == 1
    assert copy.train_seconds == 0.0
    assert session.ledger.spent.trials == 2


def test_a_population_keeps_its_size_and_ends_at_the_last_rung(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", population())
    turns = 0
    while not session.ledger.is_finished:
        record, turns = session.open(), turns + 1
        epochs = session.ledger.training(record).epochs
        report = progress(*[-1] * (epochs - 1), 20 + 3 * record.number)
        if session.ledger.report(record.key, report, node="n"):
            session.ledger.finish(record.key)
        if turns == 3:
            session = Session(tmp_path / "s", population())  # as after a kill

    records = session.ledger.records
    assert sum(not record.replaces for record in records) == 4
    gone = [record for record in records if record.status == "stopped"]
    assert {record.replaces for record in records if record.replaces} == {r.key for r in gone}
    assert sum(record.status == "completed" for record in records) == 4
    for record in records:
        if record.status == "completed":
            assert [epoch for epoch, _ in record.checks] == [1, 2, 4]


def test_a_trial_that_told_of_its_last_epoch_is_complete_though_its_driver_was_killed(
    tmp_path: Path,
) -> None:
    config = experiment(**{"ladder.decide": "none", "budget.trials": 1})
    session = Session(tmp_path / "s", config)
    record = session.open()
    session.ledger.report(record.key, progress(50, 55, -1, 60), node="n")

    again = Session(tmp_path / "s", config)  # the kill came before `finish`

    assert again.ledger.records[0].status == "completed"
    assert again.state(record) == TrialState.COMPLETE
    assert again.ledger.is_finished


def test_a_rung_that_was_added_pauses_a_trial_that_was_on_its_way_to_a_higher_one(
    tmp_path: Path,
) -> None:
    one = Session(tmp_path / "s", experiment(**{"ladder.rungs": [1], "budget.trials": 3}))
    low, high = one.run(50), one.run(60)
    assert high.goal == 4
    more = Session(tmp_path / "s", experiment(**{"ladder.rungs": [1, 2], "budget.trials": 3}))
    again = more.open()
    assert again.key == high.key

    more.ledger.report(again.key, progress(60, 60), node="n")

    paused = more.ledger.records[high.number]
    assert (paused.status, paused.goal) == ("paused", 2)
    assert low.status == "paused"


def test_the_seconds_of_a_trial_do_not_depend_on_the_rung_it_is_in(tmp_path: Path) -> None:
    config = experiment(objectives=["robust", "seconds"], **{"ladder.kind": "ladder"})
    session = Session(tmp_path / "s", config)
    for _ in range(2):
        session.run(50)

    record = session.open()
    session.ledger.report(record.key, progress(-1, 55), node="n")

    (seen,) = [t for t in observe(config, session.ledger.records) if t.number == record.number]
    # One second an epoch, four epochs, at each level.
    assert [values[1] for values in seen.values.values()] == [-4.0, -4.0]
