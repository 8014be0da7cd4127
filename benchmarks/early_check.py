"""Whether the early check ranks as the reference would: `python -m benchmarks.early_check`.

Trains a few recipes on the demo's task, and at each rung attacks the checkpoint twice on the same
images of the select split: by the demo's early check, and by APGD on cross-entropy and against 9
targets with 100 steps each, the part of AutoAttack that decides nearly all of it. Prints Kendall's
tau-b of the two rankings with a bootstrap interval over images, and what either costs, in seconds
of CPU time of one thread, which a shared machine changes least. Bars (issue 6): tau at least 0.9
over at least 12 checkpoints of different quality; a check at most 10 % of a trial's training.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from evaluation.config import EarlyCheckConfig
from evaluation.early import attack_name, early_flags
from models.registry import build_model
from search.config import ExperimentConfig
from search.load import load_experiment
from search.overrides import with_overrides
from search.space.space import BranchAxis
from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.data.load import load_held_out, load_train
from trainers.group import alone
from trainers.loop import fit
from trainers.threat import ThreatModel

CPU = torch.device("cpu")
DEMO = Path("search/configs/demo.yaml")
FAMILY = "family"
"""Key of a recipe: one of the families of models that the demo searches."""
RECIPES: dict[str, dict[str, Any]] = {
    "convnext": {},
    "resnet": {FAMILY: "resnet"},
    "vit": {FAMILY: "vit"},
    "fgsm": {"attack.name": "fgsm", "attack.steps": 1, "optim.lr": 3e-3},
    "mixup": {"augment.mixup": 0.8, "label_smoothing": 0.1, "optim.lr": 3e-3},
    "clean": {"attack.fraction": 0.0},
}
STRONG: dict[str, int] = {"ce_steps": 100, "t_steps": 100, "targets": 9}
Flags = npt.NDArray[np.bool_]
"""Whether each image survived, (checkpoints, images)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One attack on one checkpoint."""

    is_robust: tuple[bool, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model at a rung, and what the two attacks say of it."""

    recipe: str
    epoch: int
    train_seconds: float
    """Of the whole training, also where the rung is before its end."""
    early: Evaluation
    strong: Evaluation


def trial_of(demo: ExperimentConfig, changes: Mapping[str, Any]) -> TrialConfig:
    """Returns the demo's base trial with a recipe's changes."""
    overrides = dict(changes)
    if FAMILY in overrides:
        families = demo.space["model"]
        assert isinstance(families, BranchAxis)
        overrides["model"] = families.branches[overrides.pop(FAMILY)].section
    return with_overrides(demo.base, overrides)


def checkpoints(recipe: str, demo: ExperimentConfig) -> list[Checkpoint]:
    """Trains a recipe to its end, and attacks the model of each rung."""
    config = trial_of(demo, RECIPES[recipe])
    model = build_model(
        config.model, num_classes=config.data.num_classes, resolution=config.data.resolution
    )
    states = fit(
        config,
        images=load_train(config),
        rungs=(),
        evaluate=None,
        group=alone(CPU),
        resume=None,
        start=None,
    )
    images = load_held_out(config.data, "select", threads=1)
    found: dict[int, list[Evaluation]] = {}
    started = time.process_time()
    for state in states:
        if state.epoch in (*demo.ladder.rungs, config.epochs):
            model.load_state_dict(dict(state.model))
            found[state.epoch] = [
                evaluate(model.eval(), images, config.threat, attack) for attack in attacks_of(demo)
            ]
    seconds = time.process_time() - started
    seconds -= sum(each.seconds for pair in found.values() for each in pair)
    return [
        Checkpoint(recipe=recipe, epoch=epoch, train_seconds=seconds, early=early, strong=strong)
        for epoch, (early, strong) in found.items()
    ]


def attacks_of(demo: ExperimentConfig) -> tuple[EarlyCheckConfig, EarlyCheckConfig]:
    """Returns the early check and the strong attack, on the same images from the same starts."""
    return demo.early_check, with_overrides(demo.early_check, STRONG)


def evaluate(
    model: nn.Module, images: ImageSet, threat: ThreatModel, attack: EarlyCheckConfig
) -> Evaluation:
    """Attacks a model and takes the time."""
    started = time.process_time()
    flags = early_flags(model, images, threat, attack, device=CPU)
    return Evaluation(is_robust=flags.is_robust, seconds=time.process_time() - started)


def kendall_tau(a: Flags, b: Flags) -> float:
    """Returns tau-b of the accuracies in two tables (Kendall 1945, Biometrika 33:239)."""
    pairs = np.triu_indices(len(a), k=1)
    a_signs, b_signs = (
        np.sign(np.subtract.outer(scores, scores))[pairs]
        for scores in (table.sum(axis=1, dtype=np.int64) for table in (a, b))
    )
    untied = np.sqrt(np.count_nonzero(a_signs) * np.count_nonzero(b_signs))
    return float(a_signs @ b_signs / untied)


def tau_interval(a: Flags, b: Flags, *, draws: int, seed: int) -> tuple[float, float]:
    """Returns the 95 % percentile bootstrap of tau over images, drawn for all checkpoints alike."""
    n = a.shape[1]
    drawn = np.random.default_rng(seed).integers(n, size=(draws, n))
    taus = [kendall_tau(a[:, images], b[:, images]) for images in drawn]
    low, high = np.quantile(taus, (0.025, 0.975))
    return float(low), float(high)


def table_of(found: Sequence[Checkpoint]) -> Table:
    """Returns a row for each checkpoint."""
    table = Table()
    headers = ("epoch", "early", "strong", "broken by strong alone", "cost ratio", "of training")
    table.add_column("recipe")
    for header in headers:
        table.add_column(header, justify="right")
    for at in found:
        early, strong = (np.array(each.is_robust) for each in (at.early, at.strong))
        table.add_row(
            at.recipe,
            str(at.epoch),
            f"{early.mean():.2%}",
            f"{strong.mean():.2%}",
            str(int((early & ~strong).sum())),
            f"{at.early.seconds / at.strong.seconds:.1%}",
            f"{at.early.seconds / at.train_seconds:.1%}",
        )
    return table


def agreement(found: Sequence[Checkpoint], *, draws: int) -> str:
    """Returns tau with its interval, of `draws` draws of the bootstrap."""
    early = np.array([at.early.is_robust for at in found])
    strong = np.array([at.strong.is_robust for at in found])
    low, high = tau_interval(early, strong, draws=draws, seed=0)
    return (
        f"{len(found)} checkpoints, {early.shape[1]} images: tau-b "
        f"{kendall_tau(early, strong):.3f} [{low:.3f}, {high:.3f}]"
    )


def costs(found: Sequence[Checkpoint]) -> str:
    """Returns the seconds of all attacks and all trainings, and their ratios."""
    early = sum(at.early.seconds for at in found)
    strong = sum(at.strong.seconds for at in found)
    training = sum({at.recipe: at.train_seconds for at in found}.values())
    return (
        f"CPU seconds: early {early:.0f}, strong {strong:.0f} ({early / strong:.1%}), training "
        f"{training:.0f} (all early checks {early / training:.1%})"
    )


def main() -> None:
    """Trains and attacks every recipe, then prints the table and the agreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", default="", help="part of the recipes' names; empty: all")
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    options = parser.parse_args()
    torch.set_num_threads(1)
    demo, console = load_experiment(DEMO, {}), Console(width=110)
    found = [
        at for recipe in RECIPES if options.recipes in recipe for at in checkpoints(recipe, demo)
    ]
    console.print(" against ".join(attack_name(attack) for attack in attacks_of(demo)))
    console.print(table_of(found))
    console.print(agreement(found, draws=options.draws))
    console.print(costs(found))


if __name__ == "__main__":
    main()
