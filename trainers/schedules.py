"""Radius, steps, resolution and learning rate as functions of progress, from 0 to 1.

The loop asks once per step, so nothing jumps at the border of two epochs.
"""

import math

from trainers.config import OptimConfig, ScheduleConfig

STEP_FACTOR = 0.1
"""Of the learning rate at each drop of the step schedule (He et al. 2016, arXiv:1512.03385)."""


def share_at(progress: float, schedule: ScheduleConfig) -> float:
    """Returns the share of its final value that a scheduled value has.

    Source: Debenedetti et al. 2023, arXiv:2209.07399 (their sine is our cosine), but per step
    rather than per epoch, and continuous after a delay, where theirs jumps.
    """
    if schedule.shape == "constant" or progress >= schedule.delay + schedule.ramp:
        return 1.0
    if progress < schedule.delay:
        return schedule.start
    done = (progress - schedule.delay) / schedule.ramp
    rise = (1 - math.cos(math.pi * done)) / 2 if schedule.shape == "cosine" else done
    return schedule.start + (1 - schedule.start) * rise


def steps_at(progress: float, schedule: ScheduleConfig, *, steps: int) -> int:
    """Returns the attack's steps, at least 1."""
    return max(1, round(steps * share_at(progress, schedule)))


def resolution_at(progress: float, schedule: ScheduleConfig, *, resolution: int) -> int:
    """Returns the side of training images: a multiple of 4, of 32 from 128 pixels on."""
    share = share_at(progress, schedule)
    if share == 1:
        return resolution
    multiple = 32 if resolution >= 128 else 4
    side = multiple * round(resolution * share / multiple)
    return min(max(side, multiple), resolution)


def lr_at(progress: float, optim: OptimConfig, *, batch_size: int) -> float:
    """Returns the learning rate: linear warm-up, decay, and the final rate to the end.

    Args:
        batch_size: Global batch; the peak is stated for `reference_batch`.
    """
    peak = peak_lr(optim, batch_size=batch_size)
    if progress < optim.warmup:
        return peak * (optim.warmup_lr + (1 - optim.warmup_lr) * progress / optim.warmup)
    start = optim.warmup if optim.decay_after_warmup else 0.0
    done = min((progress - start) / (1 - optim.cooldown - start), 1.0)
    if optim.schedule == "cosine":
        return peak * (optim.final_lr + (1 - optim.final_lr) * (1 + math.cos(math.pi * done)) / 2)
    if optim.schedule == "linear":
        return peak * (1 + (optim.final_lr - 1) * done)
    drops = math.floor((progress - start) / optim.step_every + 1e-9)
    return peak * max(optim.final_lr, STEP_FACTOR**drops)


def peak_lr(optim: OptimConfig, *, batch_size: int) -> float:
    """Returns the highest learning rate: linear in the batch (Goyal et al. 2017), or its root."""
    ratio = batch_size / optim.reference_batch
    scale = {"linear": ratio, "sqrt": math.sqrt(ratio), "none": 1.0}[optim.lr_scaling]
    return optim.lr * scale
