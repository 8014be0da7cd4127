"""Radius and learning rate as pure functions of progress: 0 at the first step, 1 after the last.

The loop asks once per step, so nothing jumps at the border of two epochs.
"""

import math

from trainers.config import EpsScheduleConfig, OptimConfig


def eps_at(progress: float, schedule: EpsScheduleConfig, *, eps: float) -> float:
    """Returns the radius of the training attack, which rises from 0 to `eps` and stays.

    Source: Debenedetti et al. 2023, arXiv:2209.07399 (their cosine is called sine), but
    continuous: per step rather than per epoch.
    """
    if progress >= schedule.ramp:
        return eps
    done = progress / schedule.ramp
    return eps * (done if schedule.shape == "linear" else (1 - math.cos(math.pi * done)) / 2)


def lr_at(progress: float, optim: OptimConfig, *, batch_size: int) -> float:
    """Returns the learning rate: linear warm-up from 0, then half a cosine to the final one.

    Args:
        batch_size: Global batch; the peak is stated for `reference_batch` and scales with it.
    """
    peak = optim.lr * batch_size / optim.reference_batch
    if progress < optim.warmup:
        return peak * progress / optim.warmup
    done = (progress - optim.warmup) / (1 - optim.warmup)
    return peak * (optim.final_lr + (1 - optim.final_lr) * (1 + math.cos(math.pi * done)) / 2)
