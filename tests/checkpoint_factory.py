"""Checkpoints of untrained networks on the embedded task, for tests that only read them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from base_trial import base_trial

from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.group import alone
from trainers.session import begin_session, state_of


def save_untrained(
    folder: Path, *, seed: int, epoch: int = 1, data: dict[str, Any] | None = None
) -> Path:
    """Writes one checkpoint of 16 x 16 images in 12 classes, 24 of them to test, and returns it."""
    trial = TrialConfig.model_validate(
        base_trial(
            data={"test_images": 24, **(data or {})},
            model={"stem": "patch", "layer_scale": 0},
            threat={"eps": "32/255"},
            seed=seed,
        )
    )
    none = ImageSet(images=torch.zeros(24, 3, 16, 16).byte(), labels=torch.zeros(24).long())
    with torch.random.fork_rng():
        session = begin_session(
            trial, none, group=alone(torch.device("cpu")), resume=None, start=None
        )
    return save_checkpoint(folder, replace(state_of(session), epoch=epoch))
