"""A line for each thing that happened to a trial, once."""

from diagnosis_factory import END, FLAG
from records_factory import record

from search.books.diagnosing import diagnosis_text
from search.live.trial_events import new_events


def test_a_rung_states_interval_attack_and_n() -> None:
    trial = record(3, status="running", epochs=3)
    robust = trial.checks[0][1].robust
    low, high = robust.interval

    (event,) = [line for line in new_events(None, trial) if " rung " in line]

    assert event.startswith(
        f"t00003 rung 3: robust {robust.value:.3f} [{low:.3f}, {high:.3f}] "
        "(apgd_ce10+apgd_t3x10, n=120)"
    )


def test_what_befell_a_training_is_told_once() -> None:
    before = record(3, status="running", epochs=3)
    assert before.progress is not None
    told = before.progress.model_copy(update={"events": ("1 worker(s) instead of 2",)})
    after = before.model_copy(update={"progress": told})

    assert new_events(before, after) == ["t00003: 1 worker(s) instead of 2"]
    assert new_events(after, after) == []


def test_a_flag_is_told_once() -> None:
    before = record(3, status="running", epochs=3)
    flagged = before.model_copy(update={"diagnoses": (FLAG,)})
    again = FLAG.model_copy(update={"reason": "still"})

    assert new_events(before, flagged) == [f"t00003 flagged: {diagnosis_text(FLAG)}"]
    assert new_events(flagged, flagged.model_copy(update={"diagnoses": (again,)})) == []


def test_what_ends_a_trial_is_told_as_its_end() -> None:
    before = record(3, status="running", epochs=6)
    update = {"status": "diagnosed", "reason": diagnosis_text(END), "diagnoses": (END,)}

    events = new_events(before, before.model_copy(update=update))

    assert events == [
        "t00003 diagnosed: catastrophic overfitting: pgd10 accuracy fell from 40.0% at epoch 3 to "
        "2.0% at epoch 6 (n=120) (epoch 6/12)"
    ]
