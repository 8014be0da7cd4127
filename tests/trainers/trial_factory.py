"""A small trial and random images for it; tests change what they are about."""

from typing import Any

import torch

from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy, Check

CHECK = Check(
    clean=Accuracy(attack="clean", n=4, correct=3),
    robust=Accuracy(attack="pgd1", n=4, correct=1),
    seconds=0.0,
)

PLAIN: dict[str, Any] = {
    "data": {
        "source": "photos",
        "resolution": 16,
        "train_images": 24,
        "select_images": 12,
        "test_images": 12,
        "seed": 0,
    },
    "model": {
        "family": "convnext",
        "stem": "conv",
        "stem_stride": 4,
        "depths": [1, 1],
        "widths": [8, 16],
        "layer_scale": 1e-6,
        "drop_path": 0.0,
        "normalize": "half",
    },
    "threat": {"norm": "linf", "eps": "4/255"},
    "attack": {"name": "apgd", "steps": 2},
    "eps_schedule": {"shape": "linear", "ramp": 0.0},
    "augment": {
        "crop_scale": 1.0,
        "flip": 0.0,
        "color_jitter": 0.0,
        "randaugment": 0.0,
        "erasing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
    },
    "optim": {
        "name": "adamw",
        "lr": 1e-3,
        "reference_batch": 8,
        "weight_decay": 0.05,
        "betas": [0.9, 0.95],
        "warmup": 0.1,
        "final_lr": 0.01,
        "clip_norm": 1.0,
    },
    "label_smoothing": 0.1,
    "ema_horizon": 0.0,
    "epochs": 3,
    "batch_size": 8,
    "seed": 5,
}


def tiny_trial(**changes: dict[str, Any] | float) -> TrialConfig:
    """Returns the plain trial with each section updated by, or each value replaced by, a change."""
    tree = dict(PLAIN)
    for name, change in changes.items():
        tree[name] = {**tree[name], **change} if isinstance(change, dict) else change
    return TrialConfig.model_validate(tree)


def random_images(n: int) -> ImageSet:
    """Returns `n` images of noise with labels below 12."""
    generator = torch.Generator().manual_seed(3)
    return ImageSet(
        images=torch.randint(256, (n, 3, 16, 16), generator=generator).to(torch.uint8),
        labels=torch.randint(12, (n,), generator=generator),
    )
