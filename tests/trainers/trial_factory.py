"""A small trial and random images for it; tests change what they are about."""

from typing import Any

import torch
from base_trial import base_trial

from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy, Check

CHECK = Check(
    clean=Accuracy(attack="clean", n=4, correct=3),
    robust=Accuracy(attack="pgd1", n=4, correct=1),
    seconds=0.0,
)


def tiny_trial(**changes: dict[str, Any] | float | str) -> TrialConfig:
    """Returns the base trial with each section updated by, or each value replaced by, a change."""
    return TrialConfig.model_validate(base_trial(**changes))


def random_images(n: int) -> ImageSet:
    """Returns `n` images of noise with labels below 12."""
    generator = torch.Generator().manual_seed(3)
    return ImageSet(
        images=torch.randint(256, (n, 3, 16, 16), generator=generator).to(torch.uint8),
        labels=torch.randint(12, (n,), generator=generator),
    )
