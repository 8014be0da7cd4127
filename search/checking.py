"""The early check that a worker runs for its payload. Imports torch."""

import torch
from torch import nn

from evaluation.early import early_check
from search.payload import DriverPayload
from trainers.data.load import load_held_out
from trainers.loop import Evaluate
from trainers.metrics import Check


def check_of(payload: DriverPayload) -> Evaluate:
    """Returns the check on the select split, which it loads."""
    trial, race = payload.trial, payload.race
    images = load_held_out(trial.data, "select", threads=payload.resources.cpus_per_worker)

    def evaluate(model: nn.Module, epoch: int | None) -> Check:
        return early_check(
            model,
            images,
            trial.threat,
            payload.early_check,
            pending=race.pending(epoch, key=payload.key) if race and epoch else None,
            device=torch.device(payload.resources.device),
        )

    return evaluate
