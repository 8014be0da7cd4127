"""The steps that a plan builds on: of the cheapest trial, of the base and of the dearest."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from search.config import ExperimentConfig
from search.errors import UserError
from search.overrides import with_overrides
from search.plan.cost_page import CORNERS, costly_ends
from search.plan.earlier import Earlier
from search.plan.plan import span_of
from search.space.candidate import build_trial
from search.space.constraints import measure, violations
from search.space.space import corner
from trainers.config import TrialConfig
from trainers.data.config import StoredConfig


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Three trials, from the cheapest to the dearest, and what their steps take."""

    trials: tuple[TrialConfig, TrialConfig, TrialConfig]
    seconds: tuple[Sequence[float], Sequence[float], Sequence[float]]
    """Several measurements of each."""
    note: str
    """What was measured, and which trials those are."""


def find_steps(
    experiment: ExperimentConfig, base: TrialConfig, earlier: Earlier, *, with_timing: bool
) -> Steps:
    """Times steps on this machine, or takes those of earlier trials of the base's model.

    Where there are both, the earlier trials say what a step of the base takes, and the timing how
    much more or less the other two take.

    Args:
        base: The experiment's, with the number of its images.

    Raises:
        UserError: If neither is to be had, or a step does not fit into memory.
    """
    (cheap, cheapest), (dear, dearest) = _extremes(experiment, base)
    trials = (cheapest, base, dearest)
    ends = f"Cheapest: {cheap}. Dearest: {dear}."
    known = earlier.step_seconds
    if not with_timing:
        if not known:
            raise UserError("nothing was timed, and no earlier trial trained as the base does")
        seconds = (_scaled(known, base, cheapest), known, _scaled(known, base, dearest))
        note = (
            f"A step of the base: of {len(known)} epochs of earlier trials of its model; others in "
            f"proportion to their multiply-adds. {ends}"
        )
        return Steps(trials=trials, seconds=seconds, note=note)
    _require_device(experiment)
    low, own, high = (
        _timed(what, trial, experiment)
        for what, trial in ((cheap, cheapest), ("base", base), (dear, dearest))
    )
    note = f"Steps: {_what_was_timed(experiment)} {ends}"
    if not known:
        return Steps(trials=trials, seconds=(low, own, high), note=note)
    factor = span_of(known).base / span_of(own).base
    seconds = ([factor * one for one in low], known, [factor * one for one in high])
    note += (
        f" All are {factor:.3g} times that, which is what {len(known)} epochs of earlier trials of "
        "the base's model took."
    )
    return Steps(trials=trials, seconds=seconds, note=note)


def counted(trial: TrialConfig) -> TrialConfig:
    """Returns the trial with the number of its images where it says "all".

    Raises:
        UserError: If they cannot be counted.
    """
    from trainers.data.load import train_split

    data = trial.data
    if not isinstance(data, StoredConfig) or data.train_images != "all":
        return trial
    if not data.test_path:  # torchvision's: to count them is to fetch them
        raise UserError("data.train_images is 'all' of a set that is fetched; give their number")
    try:
        count = len(train_split(data))
    except (ValueError, OSError) as error:
        raise UserError(f"base.data: {error}") from error
    return with_overrides(trial, {"data.train_images": count - count % data.num_classes})


def _extremes(
    experiment: ExperimentConfig, base: TrialConfig
) -> tuple[tuple[str, TrialConfig], tuple[str, TrialConfig]]:
    """Returns the cheapest and the dearest of the base, ends and random corners, in words.

    What the constraints do not allow is left out.
    """
    draw = random.Random(0)
    found = costly_ends(experiment)
    for _ in range(CORNERS):
        sample = corner(experiment.space, draw)
        words = ", ".join(f"{name} = {value}" for name, value in sample.items())
        trial = build_trial(experiment.base, experiment.space, sample, recipe=None)
        found.append((words, trial))
    trials = [(what, counted(trial)) for what, trial in found]
    allowed = [
        (what, trial)
        for what, trial in trials
        if not violations(experiment.constraints, measure(trial))
    ]
    ranked = sorted([("base", base), *allowed], key=lambda one: _epoch_cost(one[1]))
    return ranked[0], ranked[-1]


def _epoch_cost(trial: TrialConfig) -> float:
    return measure(trial)["train_cost"] / trial.epochs


def _scaled(seconds: Sequence[float], base: TrialConfig, trial: TrialConfig) -> list[float]:
    """Returns what a step of `trial` takes if those of the base take `seconds`."""
    there = measure(trial)["train_gmacs"] * trial.batch_size
    factor = there / (measure(base)["train_gmacs"] * base.batch_size)
    return [factor * second for second in seconds]


def _require_device(experiment: ExperimentConfig) -> None:
    import torch

    if experiment.resources.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "workers have GPUs, and this machine has none; make the plan on one that has, or with "
            "--no-timing from the records of earlier searches"
        )


def _timed(what: str, trial: TrialConfig, experiment: ExperimentConfig) -> Sequence[float]:
    import torch

    from trainers.pace import time_steps

    workers = experiment.resources
    try:
        return time_steps(
            trial,
            workers=workers.workers,
            threads=workers.cpus_per_worker,
            device=torch.device(workers.device),
        )
    except ValueError as error:
        raise UserError(f"{what}: {error}") from error


def _what_was_timed(experiment: ExperimentConfig) -> str:
    import torch

    workers = experiment.resources
    count = workers.cpus_per_worker
    device = f"{count} CPU thread{'' if count == 1 else 's'}"
    if workers.device == "cuda":
        device = torch.cuda.get_device_name()
    rest = "" if workers.workers == 1 else f", by one of {workers.workers} workers alone"
    return (
        f"real training on noise, on {device} of this machine{rest}, one process at a time; in "
        "parentheses the fastest and the slowest of several."
    )
