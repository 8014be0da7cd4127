"""Population-based training: the worst of a rung give way to changed copies of the best.

Jaderberg et al. 2017, arXiv:1711.09846, with truncation selection, asynchronously: a trial is
compared with those that have reached its rung before it. A copy begins the next rung from the
weights of the trial that it copies, with what is like a schedule changed; what makes the network or
the task stays. Optimiser states are not copied: each rung is a complete schedule. Ray Tune's own
cannot be used, for nested trainings register no checkpoint with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler

from search.space.axes import IntAxis, LogUniformAxis, UniformAxis
from search.space.space import Sample, Space, leaf_axes, suggest
from search.strategy.config import LadderConfig
from search.strategy.observed import Observed
from search.strategy.ranking import scores

LIKE_A_SCHEDULE = (
    "attack.steps",
    "augment",
    "eps_schedule",
    "label_smoothing",
    "objective.beta",
    "optim",
    "steps_schedule",
)
"""Paths that may change between two rungs without another network, task or threat."""
FACTORS = (0.8, 1.2)
"""Jaderberg et al. 2017, section 4.1: a number is multiplied by one of them,"""
ANEW = 0.25
"""or, with this probability, drawn anew."""


def gives_way(own: float, others: Sequence[float], *, reduction: int) -> bool:
    """Whether a score is among the worst 1 / reduction of its rung; ties stay."""
    worst = (len(others) + 1) // reduction
    return worst > 0 and not sum(other <= own for other in others) >= worst


def donor_of(
    trials: Sequence[Observed], ladder: LadderConfig, *, leaver: Observed, level: int, seed: int
) -> Observed | None:
    """Returns one of the best 1 / reduction of the leaver's rung, by chance; None if there is none.

    Args:
        seed: Of the choice.
    """
    there = [
        t for t in trials if level in t.values and level >= t.first and t.bracket == leaver.bracket
    ]
    ranked = sorted(
        zip(scores([t.values[level] for t in there]), there, strict=True),
        key=lambda one: (-one[0], one[1].number),
    )
    best = [t for _, t in ranked[: max(1, len(ranked) // ladder.reduction)]]
    fit = [t for t in best if t.status != "failed" and t.number != leaver.number]
    return fit[int(np.random.default_rng(seed).integers(len(fit)))] if fit else None


def explore(params: Sample, space: Space, *, seed: int) -> Sample:
    """Returns a sample with everything that is like a schedule multiplied, or drawn anew."""
    draw, changed = np.random.default_rng(seed), dict(params)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    fresh = suggest(study.ask(), space)
    for leaf in leaf_axes(space):
        if leaf.name not in params or not _is_like_a_schedule(leaf.path):
            continue
        if draw.random() < ANEW:
            changed[leaf.name] = fresh.get(leaf.name, params[leaf.name])
        elif isinstance(leaf.axis, IntAxis | UniformAxis | LogUniformAxis):
            factor = FACTORS[int(draw.integers(len(FACTORS)))]
            changed[leaf.name] = _scaled(params[leaf.name], factor, leaf.axis)
    return changed


def _is_like_a_schedule(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}.") for one in LIKE_A_SCHEDULE)


def _scaled(value: Any, factor: float, axis: IntAxis | UniformAxis | LogUniformAxis) -> Any:
    low, high = axis.bounds
    if isinstance(axis, IntAxis):
        step = 1 if factor > 1 else -1
        moved = round(value * factor)
        return min(max(moved if moved != value else value + step, low), high)
    return min(max(value * factor, low), high)
