"""Clean training before a trial, once for all trials that would train the same.

The published models of Singh et al. 2023 (arXiv:2303.01870) begin from clean-trained weights.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.clean_start import clean_start_key
from trainers.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import Images
from trainers.loop import fit
from trainers.metrics import Check


def clean_start(
    config: TrialConfig,
    folder: Path,
    *,
    images: Images,
    evaluate: Callable[[nn.Module], Check],
    rank: int,
    world_size: int,
    device: torch.device,
) -> Mapping[str, Tensor]:
    """Returns the weights after `config.weights.clean_epochs` epochs without an attack.

    They lie in `folder/KEY`, one checkpoint after each epoch; what is there is not trained again.
    Trials that begin at the same moment both train them, to the same weights.

    Args:
        images, evaluate, rank, world_size, device: As for `fit`.

    Raises:
        FloatingPointError: If the loss is not finite.
        ValueError: If the checkpoint is damaged.
    """
    clean = clean_config(config)
    place = folder / _key(clean, images)
    # Rank 0 looks for all: another trial may write between two looks.
    there = [has_checkpoint(place)]
    if world_size > 1:
        dist.broadcast_object_list(there, src=0)
    state = load_checkpoint(place, clean) if there[0] else None
    if state is not None and state.epoch == clean.epochs:
        return state.model
    states = fit(
        clean,
        images=images,
        rungs=(),
        evaluate=evaluate,
        rank=rank,
        world_size=world_size,
        device=device,
        resume=state,
        start=None,
    )
    for state in states:
        if rank == 0:
            save_checkpoint(place, state)
    assert state is not None
    return state.model


def clean_config(config: TrialConfig) -> TrialConfig:
    """Returns the clean training of a trial: its optimiser and augmentation, and nothing else.

    What only an attack reads has one value, so that trials with different attacks share a start.
    """
    tree = config.model_dump(mode="json")
    constant = {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0}
    attack = {
        "name": "pgd",
        "steps": 1,
        "reach": 1.0,
        "noise": 0.0,
        "project": True,
        "loss": "ce",
        "target": "none",
        "fraction": 0.0,
        "also": [],
        "union": "max",
    }
    return TrialConfig.model_validate(
        {
            **tree,
            "attack": attack,
            "objective": {"name": "at", "beta": 0.0},
            "eps_schedule": constant,
            "steps_schedule": constant,
            "weights": {**tree["weights"], "clean_epochs": 0},
            "freeze": "none",
            "ema_horizon": 0.0,
            "epochs": config.weights.clean_epochs,
        }
    )


def _key(clean: TrialConfig, images: Images) -> str:
    recipe = clean.model_dump(mode="json", exclude={"data", "threat"})
    return clean_start_key(clean.model, data=images.hash, recipe=recipe)
