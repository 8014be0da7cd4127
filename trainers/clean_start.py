"""Clean training before a trial, once for all trials that would train the same.

The published models of Singh et al. 2023 (arXiv:2303.01870) begin from clean-trained weights. How
the clean training goes is the search's to say, not the trial's, so that trials of one model share
it whatever recipe they try.
"""

from pathlib import Path

import torch
import torch.distributed as dist

from models.clean_start import clean_start_key
from trainers.checkpoint import (
    CleanStart,
    TrainState,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from trainers.config import TrialConfig
from trainers.data.load import Images
from trainers.loop import fit


def clean_start(
    config: TrialConfig,
    folder: Path,
    *,
    recipe: TrialConfig,
    images: Images,
    rank: int,
    world_size: int,
    device: torch.device,
) -> CleanStart:
    """Returns the weights after `config.weights.clean_epochs` epochs without an attack.

    They lie in `folder/KEY`, one checkpoint after each epoch; what is there is not trained again.
    Trials that begin at the same moment both train them, to the same weights.

    Args:
        recipe: Whose optimiser, augmentation and batch are used.
        images, rank, world_size, device: As for `fit`.

    Raises:
        FloatingPointError: If the loss is not finite.
        ValueError: If the checkpoint is damaged.
    """
    clean = clean_config(config, recipe=recipe)
    place = folder / _key(clean, images)
    state = _read_together(place, clean, rank=rank, world_size=world_size)
    before = 0 if state is None else state.epoch
    if state is None or before < clean.epochs:
        states = fit(
            clean,
            images=images,
            rungs=(),
            evaluate=None,
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
    mine = [epoch.seconds for epoch in state.progress.history if epoch.epoch > before]
    return CleanStart(model=state.model, seconds=sum(mine, 0.0))


def clean_config(config: TrialConfig, *, recipe: TrialConfig) -> TrialConfig:
    """Returns the clean training of the model and the data of `config` by `recipe`.

    What only an attack reads has one value, so that it does not tell trainings apart.
    """
    tree = recipe.model_dump(mode="json")
    mine = config.model_dump(mode="json", include={"data", "model", "compute"})
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
            **mine,
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


def _read_together(
    place: Path, clean: TrialConfig, *, rank: int, world_size: int
) -> TrainState | None:
    """Reads on rank 0 for all: another trial may write between two looks."""
    is_reader = rank == 0 and has_checkpoint(place)
    states = [load_checkpoint(place, clean) if is_reader else None]
    if world_size > 1:
        dist.broadcast_object_list(states, src=0)
    return states[0]


def _key(clean: TrialConfig, images: Images) -> str:
    tree = clean.model_dump(mode="json")
    data = {"images": images.hash, **tree.pop("data")}
    model = tree.pop("model")
    rates = {name: model[name] for name in ("drop_path", "head_dropout")}
    return clean_start_key(clean.model, data=data, recipe={**tree, **rates})
