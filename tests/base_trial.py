"""The smallest whole trial; every test folder takes it and changes what its tests are about."""

from typing import Any

BASE: dict[str, Any] = {
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


def base_trial(**changes: dict[str, Any] | float) -> dict[str, Any]:
    """Returns `BASE` with each section updated by, or each value replaced by, a change."""
    tree = dict(BASE)
    for name, change in changes.items():
        tree[name] = {**tree[name], **change} if isinstance(change, dict) else change
    return tree
