"""The timing of steps: what it trains, and what it leaves as it was."""

import statistics
import time

import pytest
import torch
from trial_factory import tiny_trial

from trainers.config import TrialConfig
from trainers.pace import EPOCHS, STEPS, time_steps

CPU = torch.device("cpu")


def timed(trial: TrialConfig, *, workers: int = 1) -> tuple[float, ...]:
    return time_steps(trial, workers=workers, threads=1, device=CPU)


def test_all_steps_together_take_no_longer_than_the_call() -> None:
    began = time.perf_counter()
    seconds = timed(tiny_trial())
    wall = time.perf_counter() - began

    assert len(seconds) == EPOCHS
    assert all(second > 0 for second in seconds)
    assert sum(seconds) * STEPS["cpu"] <= wall


def test_a_longer_attack_takes_longer_also_where_its_steps_grow_in_training() -> None:
    from_one = {"shape": "step", "start": 0.01, "delay": 0.9, "ramp": 0.0}

    short = timed(tiny_trial(attack={"steps": 1}))
    long = timed(tiny_trial(attack={"steps": 20}, steps_schedule=from_one))

    # By passes (2 * 20 + 4) / (2 + 4) = 7.3 times.
    assert statistics.median(long) > 2 * statistics.median(short)


def test_weights_and_a_learning_rate_that_diverge_or_are_not_here_do_not_matter() -> None:
    trial = tiny_trial(
        weights={"init": "/nowhere/weights.safetensors"}, optim={"lr": 1e30, "warmup": 0.0}
    )

    assert len(timed(trial)) == EPOCHS


def test_the_number_of_threads_is_given_back_also_by_a_model_that_cannot_be_built() -> None:
    before = torch.get_num_threads()
    trial = tiny_trial(model={"depths": [1] * 6, "widths": [16] * 6})

    with pytest.raises(ValueError, match="need resolution"):
        time_steps(trial, workers=1, threads=before + 1, device=CPU)

    assert torch.get_num_threads() == before


def test_a_worker_takes_its_share_of_the_batch() -> None:
    with pytest.raises(ValueError, match="each of the 9 workers an image"):
        timed(tiny_trial(), workers=9)

    assert len(timed(tiny_trial(), workers=8)) == EPOCHS
