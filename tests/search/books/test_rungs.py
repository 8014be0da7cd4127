"""Scores at rungs, in a file: the ledger writes what the worker of another trial decides by."""

from pathlib import Path

import pytest
from ledger_factory import N, Session, experiment, progress
from optuna.trial import TrialState

from evaluation.racing import Pending
from search.books.records import TrialRecord
from search.books.rungs import RungRace, read_rung_scores
from trainers.atomic import write_atomically
from trainers.metrics import Progress


def race_of(session: Session) -> RungRace:
    """What a worker of the search is told when its trial starts."""
    ladder = experiment().ladder
    path = str(session.folder.rung_scores)
    return RungRace(scores=path, reduction=ladder.reduction, epochs_before=0, race=ladder.race)


def cutoff_for(session: Session, record: TrialRecord, epoch: int) -> float | None:
    pending = race_of(session).pending(epoch, key=record.key)
    return None if pending is None else pending.cutoff


def lost(report: Progress, *, missed: float) -> Progress:
    """Makes the last check one that ended early, because `missed` was out of reach."""
    *before, last = report.history
    assert last.check is not None
    check = last.check.model_copy(update={"missed": missed})
    return report.model_copy(
        update={"history": (*before, last.model_copy(update={"check": check}))}
    )


def test_a_worker_learns_the_score_from_which_on_the_ledger_lets_its_trial_go_on(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", experiment())
    trials = [session.open() for _ in range(5)]
    for record, right in zip(trials, (50, 30, 70, 40), strict=False):
        session.ledger.report(record.key, progress(right), node="n")
    last = trials[-1]

    cutoff = cutoff_for(session, last, 1)

    assert cutoff == 0.5  # the best two of five go on
    assert not session.ledger.report(last.key, progress(49), node="n")
    assert session.ledger.report(session.open().key, progress(50), node="n")


def test_what_is_pending_says_how_to_race(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    first, second = session.open(), session.open()
    session.ledger.report(first.key, progress(50), node="n")

    pending = race_of(session).pending(1, key=second.key)

    assert pending == Pending(cutoff=0.5, race=experiment().ladder.race)


def test_nothing_is_pending_for_the_first_at_a_rung_at_the_last_epoch_and_at_a_rung_passed(
    tmp_path: Path,
) -> None:
    session = Session(tmp_path / "s", experiment())
    first, second = session.open(), session.open()
    assert cutoff_for(session, first, 1) is None
    session.ledger.report(first.key, progress(50, 60, -1, 70), node="n")
    session.ledger.report(second.key, progress(55), node="n")

    assert cutoff_for(session, second, 4) is None
    assert cutoff_for(session, second, 1) is None
    assert cutoff_for(session, second, 2) == 0.6


def test_without_the_file_nothing_is_pending(tmp_path: Path) -> None:
    path, race = str(tmp_path / "rungs.json"), experiment().ladder.race
    race = RungRace(scores=path, reduction=2, epochs_before=0, race=race)

    assert race.pending(1, key="t00000") is None


def test_the_file_is_replaced_as_a_whole_and_only_when_a_rung_was_reached(tmp_path: Path) -> None:
    session = Session(tmp_path / "s", experiment())
    record = session.open()
    path = session.folder.rung_scores
    before = path.stat().st_ino

    session.ledger.report(record.key, progress(-1), node="n")
    assert path.stat().st_ino == before
    session.ledger.report(record.key, progress(-1, 50), node="n")

    assert path.stat().st_ino != before  # another file, under the same name
    assert [each.name for each in path.parent.glob("*rungs*")] == ["rungs.json"]


def test_a_resumed_search_writes_the_scores_that_a_kill_hid(tmp_path: Path) -> None:
    before = Session(tmp_path / "s", experiment())
    record = before.open()
    empty = before.folder.rung_scores.read_text()
    before.ledger.report(record.key, progress(50), node="n")
    after_report = read_rung_scores(before.folder.rung_scores)
    write_atomically(before.folder.rung_scores, empty)

    after = Session(tmp_path / "s", experiment())

    assert read_rung_scores(after.folder.rung_scores) == after_report
    assert cutoff_for(after, record, 1) is None
    assert after_report is not None
    assert after_report.scores == {1: {record.key: 0.5}, 2: {}}


@pytest.mark.parametrize("others_since", [(), (10, 20, 30)], ids=["cutoff", "lower cutoff"])
def test_a_trial_that_lost_its_race_is_stopped_also_where_the_cutoff_fell_since(
    others_since: tuple[int, ...], tmp_path: Path
) -> None:
    session = Session(tmp_path / "s", experiment())
    best, loser = session.open(), session.open()
    session.ledger.report(best.key, progress(60), node="n")
    missed = 0.6
    assert cutoff_for(session, loser, 1) == missed
    for right in others_since:
        session.ledger.report(session.open().key, progress(right), node="n")

    assert not session.ledger.report(loser.key, lost(progress(35), missed=missed), node="n")

    stopped = session.ledger.records[1]
    assert stopped.status == "stopped"
    assert stopped.reason == (
        f"rung 1: robust accuracy 0.350 on the first {N} images leaves 0.600, of the last that "
        "would go on, out of reach"
    )
    assert session.state(loser) == TrialState.PRUNED
    assert session.study.trials[loser.number].intermediate_values == {1: 0.35}


def test_a_lost_race_that_a_kill_hid_stops_the_trial_when_it_is_told_again(tmp_path: Path) -> None:
    before = Session(tmp_path / "s", experiment())
    best, loser = before.open(), before.open()
    before.ledger.report(best.key, progress(60), node="n")
    # The worker of `loser` saved its check, but the kill came before its report.
    after = Session(tmp_path / "s", experiment())
    assert [after.open().key, after.open().key] == [best.key, loser.key]

    assert not after.ledger.report(loser.key, lost(progress(35), missed=0.6), node="n")
