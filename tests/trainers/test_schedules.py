"""Schedules against the values of the systems they come from."""

import pytest

from trainers.config import EpsScheduleConfig, OptimConfig
from trainers.schedules import eps_at, lr_at

COSINE = [0, 0.098, 0.382, 0.824, 1.382, 2, 2.618, 3.176, 3.618, 3.902, 4]


def recipe(**changes: float) -> OptimConfig:
    """A peak of 1e-3 after 20 of 300 epochs, and 5e-6 at the end."""
    plain = {"lr": 1e-3, "reference_batch": 512, "weight_decay": 0.05, "warmup": 20 / 300}
    plain |= {"final_lr": 5e-3, "clip_norm": 0.0}
    return OptimConfig.model_validate({"name": "adamw", "betas": (0.9, 0.95), **plain, **changes})


@pytest.mark.parametrize("epoch", range(11))
def test_linear_eps_rises_by_a_tenth_per_epoch(epoch: int) -> None:
    schedule = EpsScheduleConfig(shape="linear", ramp=0.1)

    assert eps_at(epoch / 100, schedule, eps=4.0) == pytest.approx(0.4 * epoch)


@pytest.mark.parametrize(("epoch", "expected"), list(enumerate(COSINE)))
def test_cosine_eps_has_the_published_values(epoch: int, expected: float) -> None:
    schedule = EpsScheduleConfig(shape="cosine", ramp=0.1)

    assert eps_at(epoch / 100, schedule, eps=4.0) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_eps_is_continuous_and_stays(shape: str) -> None:
    schedule = EpsScheduleConfig.model_validate({"shape": shape, "ramp": 0.1})

    assert eps_at(0.1 - 1e-9, schedule, eps=4.0) == pytest.approx(4)
    assert eps_at(1.0, schedule, eps=4.0) == 4


def test_eps_without_a_ramp_is_constant() -> None:
    assert eps_at(0.0, EpsScheduleConfig(shape="linear", ramp=0.0), eps=4.0) == 4


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.0), (10, 5e-4), (20, 1e-3), (160, 5.025e-4), (300, 5e-6)]
)
def test_lr_has_the_published_values(epoch: int, expected: float) -> None:
    assert lr_at(epoch / 300, recipe(), batch_size=512) == pytest.approx(expected)


def test_lr_scales_with_the_batch() -> None:
    assert lr_at(0.5, recipe(), batch_size=1024) == 2 * lr_at(0.5, recipe(), batch_size=512)


def test_lr_without_warmup_starts_at_its_peak() -> None:
    assert lr_at(0.0, recipe(warmup=0.0), batch_size=512) == 1e-3
