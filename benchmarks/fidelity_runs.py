"""The trainings behind `benchmarks.fidelity`: which configs, which runs, and what each showed."""

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import Literal

import optuna
import torch

from benchmarks.early_check import CPU
from evaluation.config import EarlyCheckConfig
from evaluation.early import early_flags
from models.config import Config
from search.config import ExperimentConfig
from search.overrides import with_overrides
from search.recipes import RECIPES
from search.space.candidate import build_trial, recipe_sample
from search.space.constraints import measure, violations
from search.space.space import suggest
from trainers.atomic import write_atomically
from trainers.checkpoint import find_checkpoint, load_model, save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import load_held_out, load_train
from trainers.group import alone
from trainers.loop import fit

TEST_IMAGES = 960
STRONG: dict[str, int] = {"images": TEST_IMAGES, "ce_steps": 20, "t_steps": 20, "targets": 9}
PROCESSES = 2


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training of each config."""

    name: str
    """A kind and the epoch of a full training that it ends at; `again`: full, of another seed."""
    epochs: int
    after: str
    """Run whose scored weights it begins with; empty for random ones."""
    seed: int
    """Added to the config's."""
    checks: tuple[int, ...]
    """Epochs after which it is checked."""
    is_judged: bool
    """Whether it ends as a full training does, so that the strong attack judges it."""


class Outcome(Config):
    """What a run of a config showed: which images survived."""

    trial: TrialConfig
    seconds: float
    """CPU time of the training."""
    checks: dict[int, tuple[bool, ...]]
    """By epoch, on images of the select split."""
    truth: tuple[bool, ...]
    """On test images, after the last epoch; empty where the run is not judged."""


Outcomes = dict[str, list[Outcome]]
"""By name of the run, one for each config."""


def plan(rungs: Sequence[int], *, last: int) -> tuple[Run, ...]:
    """Returns the runs, each after the one that it begins with."""
    anew = [
        Run(name=f"anew-{end}", epochs=end, after="", seed=0, checks=(end,), is_judged=False)
        for end in rungs
    ]
    full = Run(
        name=f"anew-{last}", epochs=last, after="", seed=0, checks=(*rungs, last), is_judged=True
    )
    again = replace(full, name=f"again-{last}", seed=1, checks=(last,))
    continued = [
        Run(
            name=f"continue-{end}",
            epochs=end - begin,
            after=f"{'anew' if begin == rungs[0] else 'continue'}-{begin}",
            seed=0,
            checks=(end - begin,),
            is_judged=end == last,
        )
        for begin, end in pairwise((*rungs, last))
    ]
    return full, *anew, *continued, again


def draw_configs(demo: ExperimentConfig, *, count: int, seed: int) -> dict[str, TrialConfig]:
    """Returns the warm starts of a search, then random samples that keep its constraints."""
    base, space = demo.base, demo.space
    found = {
        name: build_trial(
            base, space, recipe_sample(base, space, RECIPES[name]), recipe=RECIPES[name]
        )
        for name in demo.warm_start
        if isinstance(name, str)  # a recipe, not another study
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    while len(found) < count:
        trial = build_trial(base, space, suggest(study.ask(), space), recipe=None)
        if not violations(demo.constraints, measure(trial)):
            found[f"sample {len(found) + 1}"] = trial
    return found


def perform_all(
    out: Path, configs: Mapping[str, TrialConfig], runs: Sequence[Run], check: EarlyCheckConfig
) -> Outcomes:
    """Performs every run of every config, two at a time."""
    folders = [out / name.replace(" ", "-") for name in configs]
    with ProcessPoolExecutor(
        PROCESSES,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        return {
            run.name: list(pool.map(perform, folders, configs.values(), repeat(run), repeat(check)))
            for run in runs
        }


def perform(folder: Path, trial: TrialConfig, run: Run, check: EarlyCheckConfig) -> Outcome:
    """Trains and attacks one config as `run` says, or reads what an earlier call left in `folder`.

    Raises:
        ValueError: If `folder` holds the outcome of another config.
    """
    changes = {"epochs": run.epochs, "seed": trial.seed + run.seed}
    init = {"weights.init": str(find_checkpoint(folder / run.after))} if run.after else {}
    trial, path = with_overrides(trial, changes | init), folder / f"{run.name}.json"
    if not path.exists():
        outcome = _train_and_attack(folder / run.name, trial, run, check)
        write_atomically(path, outcome.model_dump_json())
    outcome = Outcome.model_validate_json(path.read_text())
    if outcome.trial != trial:
        raise ValueError(f"{path} is of another config; give another --out, or remove it")
    return outcome


def truth_attack(check: EarlyCheckConfig) -> EarlyCheckConfig:
    """Returns the attack that judges full trainings."""
    return with_overrides(check, STRONG)


def _train_and_attack(
    folder: Path, trial: TrialConfig, run: Run, check: EarlyCheckConfig
) -> Outcome:
    started, saved = time.process_time(), dict[int, Path]()
    for state in fit(
        trial,
        images=load_train(trial),
        rungs=(),
        evaluate=None,
        group=alone(CPU),
        resume=None,
        start=None,
    ):
        if state.epoch in run.checks:
            saved[state.epoch] = save_checkpoint(folder, state)
    seconds = time.process_time() - started
    return Outcome(
        trial=trial,
        seconds=seconds,
        checks={epoch: _survivors(path, "select", check) for epoch, path in saved.items()},
        truth=_survivors(saved[trial.epochs], "test", truth_attack(check)) if run.is_judged else (),
    )


def _survivors(
    path: Path, split: Literal["select", "test"], attack: EarlyCheckConfig
) -> tuple[bool, ...]:
    config, model = load_model(path)
    images = load_held_out(config.data, split, threads=1)
    return early_flags(model, images, config.threat, attack, device=CPU).is_robust
