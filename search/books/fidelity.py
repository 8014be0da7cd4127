"""What a trial trains on each rung of its ladder. Light: no torch."""

from pathlib import Path
from typing import Any

from search.books.records import TrialRecord
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.overrides import with_overrides
from search.strategy.config import LadderConfig
from trainers.config import TrialConfig


def rung_trial(experiment: ExperimentConfig, record: TrialRecord, *, weights: str) -> TrialConfig:
    """Returns the training that takes a trial to its goal.

    With `kind: asha` it is the trial itself, which is cut before its end. With `kind: ladder` it is
    a complete schedule of that rung's epochs, or of those it has more than the rung below.

    Args:
        weights: Checkpoint of the rung below; read where training goes on from it.
    """
    ladder, config = experiment.ladder, record.config
    if ladder.kind == "asha":
        return config
    changes = rung_overrides(ladder, level=goal_of(record, ladder))
    if record.epochs_before:
        changes |= {
            "epochs": changes.get("epochs", config.epochs) - record.epochs_before,
            "weights": {
                "pretrained": False,
                "init": weights,
                "entry": "raw",
                "allow": ["position"],  # of a ViT at another resolution
                "clean_epochs": 0,
            },
        }
    return with_overrides(config, changes)


def rung_overrides(ladder: LadderConfig, *, level: int) -> dict[str, Any]:
    """Returns what a complete schedule of a rung changes in a trial; nothing at the top."""
    if ladder.kind == "asha" or level >= ladder.top:
        return {}
    return {path: values[level] for path, values in ladder.grow.items()} | {
        "epochs": ladder.rungs[level]
    }


def goal_of(record: TrialRecord, ladder: LadderConfig) -> int:
    """Returns the level where a trial is judged next; records of earlier versions say none."""
    return ladder.top if record.goal is None else sum(rung < record.goal for rung in ladder.rungs)


def checkpoints_of(
    folder: SearchFolder, ladder: LadderConfig, record: TrialRecord, *, rung: int
) -> Path:
    """Returns the folder of the checkpoints of the training that leads to the epochs `rung`."""
    owners = {one.rung: one.owner for one in record.below if one.owner}
    root = folder.trials / owners.get(rung, record.key)
    if ladder.kind == "asha" or rung >= record.config.epochs:
        return root / "checkpoint"
    return root / f"rung{rung}" / "checkpoint"
