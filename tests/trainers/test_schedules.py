"""Schedules against the published values, and that none of them jumps."""

import itertools
import math
from typing import Any

import pytest
from trial_factory import tiny_trial

from trainers.config import OptimConfig, ScheduleConfig
from trainers.schedules import lr_at, resolution_at, share_at, steps_at


def schedule(**changes: Any) -> ScheduleConfig:
    fields = {"shape": "linear", "start": 0.0, "delay": 0.0, "ramp": 0.0}
    return ScheduleConfig.model_validate({**fields, **changes})


def optim(**changes: Any) -> OptimConfig:
    return tiny_trial(optim={"lr_scaling": "none", **changes}).optim


@pytest.mark.parametrize(
    ("shape", "published"),
    [
        ("linear", [0, 0.4, 0.8, 1.2, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4, 4]),
        ("cosine", [0, 0.098, 0.382, 0.824, 1.382, 2, 2.618, 3.176, 3.618, 3.902, 4, 4]),
    ],
)
def test_eps_rises_as_in_the_published_schedules(shape: str, published: list[float]) -> None:
    """Source: Debenedetti et al. 2023, eps 4, 10 epochs of 100 (docs/seeds.md, 2.3)."""
    ramp = schedule(shape=shape, ramp=0.1)

    eps = [4 * share_at(epoch / 100, ramp) for epoch in range(12)]

    assert eps == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("start", [0.0, 0.25])
def test_a_delayed_rise_is_continuous_where_the_published_one_jumps(
    shape: str, start: float
) -> None:
    """The published linear schedule with a delay of 5 and 10 epochs goes from 1.6 to 4 at once."""
    delayed = schedule(shape=shape, start=start, delay=0.05, ramp=0.1)

    values = [share_at(step / 10_000, delayed) for step in range(10_000)]

    assert values[:501] == [start] * 501
    assert values[1501:] == [1.0] * 8499
    assert max(b - a for a, b in itertools.pairwise(values)) < 2e-3
    assert values == sorted(values)


def test_constant_is_the_final_value_from_the_first_step() -> None:
    assert share_at(0.0, schedule(shape="constant", start=1.0)) == 1


def test_a_step_jumps_after_its_delay() -> None:
    jump = schedule(shape="step", start=0.5, delay=0.3)

    assert [share_at(p, jump) for p in (0.0, 0.299, 0.3, 1.0)] == [0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": "constant"}, "constant needs start=1, delay=0 and ramp=0"),
        ({"shape": "step", "ramp": 0.2}, r"step needs ramp=0, got ramp=0\.2; delay says when"),
        ({"delay": 0.6, "ramp": 0.5}, r"delay \(0\.6\) \+ ramp \(0\.5\) must not exceed 1"),
    ],
)
def test_schedules_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        schedule(**changes)


def test_steps_follow_their_schedule_in_whole_numbers_and_never_vanish() -> None:
    ramp = schedule(ramp=1.0)

    found = [steps_at(p, ramp, steps=3) for p in (0.0, 0.1, 0.4, 0.6, 0.9, 1.0)]

    assert found == [1, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        (224, [128, 128, 160, 192, 224]),
        (32, [16, 20, 24, 28, 32]),
        (250, [128, 160, 192, 224, 250]),
    ],
)
def test_resolution_grows_in_multiples_and_ends_exact(resolution: int, expected: list[int]) -> None:
    ramp = schedule(start=0.5, ramp=0.8)

    found = [resolution_at(p, ramp, resolution=resolution) for p in (0.0, 0.2, 0.4, 0.6, 0.8)]

    assert found == expected


def test_lr_of_singh_matches_the_published_values() -> None:
    """Source: lr 1e-3, peak at epoch 20 of 300 (docs/seeds.md, 1.2)."""
    singh = optim(lr=1e-3, warmup=20 / 300, warmup_lr=1e-4, final_lr=5e-3)
    published = {0: 1.0e-7, 10: 5.0005e-4, 20: 1e-3, 160: 5.025e-4, 300: 5e-6}

    for epoch, lr in published.items():
        assert lr_at(epoch / 300, singh, batch_size=640) == pytest.approx(lr, rel=1e-6)


def test_lr_of_timm_runs_under_the_warmup_and_cools_down() -> None:
    """Source: lr 5e-4, 10 warm-up epochs, 100 + 10 epochs (docs/seeds.md, 2.2)."""
    timm = optim(
        lr=5e-4,
        warmup=10 / 110,
        warmup_lr=1e-6 / 5e-4,
        decay_after_warmup=False,
        cooldown=10 / 110,
        final_lr=1e-5 / 5e-4,
    )
    published = {0: 1e-6, 9: 4.501e-4, 10: 4.880e-4, 50: 2.55e-4, 100: 1e-5, 109: 1e-5}

    for epoch, lr in published.items():
        assert lr_at(epoch / 110, timm, batch_size=512) == pytest.approx(lr, rel=1e-4)


def test_lr_drops_by_ten_at_each_step() -> None:
    """Source: lr 3.2, a tenth every 30 of 100 epochs, no warm-up (docs/seeds.md, 2.2)."""
    bai = optim(lr=3.2, schedule="step", step_every=0.3, warmup=0.0, final_lr=1e-5 / 3.2)

    found = [lr_at(epoch / 100, bai, batch_size=512) for epoch in (0, 29, 30, 59, 60, 90, 99)]

    assert found == pytest.approx([3.2, 3.2, 0.32, 0.32, 0.032, 0.0032, 0.0032])


def test_linear_decay_is_piecewise_linear_to_zero() -> None:
    cyclic = optim(lr=1.0, schedule="linear", warmup=0.5, warmup_lr=0.0, final_lr=0.0)

    found = [lr_at(p, cyclic, batch_size=8) for p in (0.0, 0.25, 0.5, 0.75, 1.0)]

    assert found == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("after", [True, False])
def test_lr_never_jumps_but_where_timms_warmup_ends(shape: str, after: bool) -> None:
    config = optim(
        lr=1.0, schedule=shape, warmup=0.1, warmup_lr=0.01, decay_after_warmup=after, cooldown=0.1
    )

    values = [lr_at(step / 1000, config, batch_size=8) for step in range(1001)]

    jumps = [step for step in range(1000) if abs(values[step + 1] - values[step]) > 0.011]
    assert jumps == ([] if after else [99])


@pytest.mark.parametrize(("scaling", "factor"), [("linear", 4), ("sqrt", 2), ("none", 1)])
def test_the_peak_scales_with_the_batch(scaling: str, factor: float) -> None:
    config = optim(lr=0.1, reference_batch=64, warmup=0.0, lr_scaling=scaling)

    assert lr_at(0.0, config, batch_size=256) == pytest.approx(0.1 * factor)
    assert math.isclose(lr_at(0.0, config, batch_size=64), 0.1)


def test_a_step_schedule_with_a_cooldown_is_refused() -> None:
    with pytest.raises(ValueError, match=r"schedule=step has no cool-down, got cooldown=0\.1"):
        optim(schedule="step", cooldown=0.1)


def test_a_warmup_and_cooldown_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup \(0\.5\) \+ optim\.cooldown \(0\.5\) must be"):
        optim(warmup=0.5, cooldown=0.5)
