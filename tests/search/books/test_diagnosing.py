"""What the diagnoses are told of a trial, and what is made of their answers."""

import pytest
from diagnosis_factory import DIAGNOSIS, END, FLAG
from records_factory import check, progress, trial_config
from repository import CONFIGS

from search.books.diagnosing import (
    describe_training,
    diagnose_history,
    first_end,
    latest_of_each,
    new_among,
)
from search.load import load_experiment, load_training


@pytest.mark.parametrize(
    ("warmup", "schedule", "epochs"),
    [
        (0.25, {"shape": "linear", "start": 0.0, "delay": 0.0, "ramp": 0.1}, 3.0),
        (0.25, {"shape": "linear", "start": 0.0, "delay": 0.25, "ramp": 0.5}, 9.0),
        (0.0, {"shape": "step", "start": 0.0, "delay": 0.5, "ramp": 0.0}, 6.0),
        (0.0, {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0}, 0.0),
    ],
)
def test_warm_up_ends_with_that_of_the_learning_rate_or_of_eps_whichever_is_later(
    warmup: float, schedule: dict[str, object], epochs: float
) -> None:
    trial = trial_config(optim__warmup=warmup, eps_schedule=schedule, epochs=12)

    training = describe_training(trial)

    assert (training.num_classes, training.warmup_epochs) == (12, pytest.approx(epochs))


def test_every_check_is_diagnosed_and_nothing_else_is() -> None:
    history = list(progress(12).history)
    history[5] = history[5].model_copy(update={"check": check(60, 0)})

    found = diagnose_history(trial_config(), history, DIAGNOSIS)

    names = {epoch: [one.name for one in at] for epoch, at in found.items()}
    assert names == {3: [], 6: ["catastrophic overfitting"], 12: []}
    assert diagnose_history(trial_config(), history[:6], DIAGNOSIS)[6] == found[6]


def test_the_last_word_on_each_failure_counts_and_the_first_end_ends() -> None:
    later = FLAG.model_copy(update={"reason": "still"})
    found = {3: (FLAG,), 6: (END, later), 12: ()}

    assert latest_of_each(found) == (later, END)
    assert first_end(found) == END
    assert first_end({3: (FLAG,)}) is None


def test_a_failure_is_news_once() -> None:
    later = FLAG.model_copy(update={"reason": "still"})

    assert new_among((END, later), (FLAG,)) == [END]


def test_the_shipped_configs_have_the_numbers_that_the_fields_name() -> None:
    assert load_experiment(CONFIGS / "demo.yaml", {}).diagnosis == DIAGNOSIS
    assert load_training(CONFIGS / "train.yaml", {}).diagnosis == DIAGNOSIS
