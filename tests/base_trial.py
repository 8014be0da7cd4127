"""The smallest whole trial; every test folder takes it and changes what its tests are about."""

from typing import Any

from models.config import TimmConfig

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
        "stem_convs": 2,
        "stem_widths": "doubling",
        "stem_projection": False,
        "stem_norm": "ln",
        "stem_act": "gelu",
        "stem_stride": 4,
        "depths": [1, 1],
        "widths": [8, 16],
        "kernel_size": 7,
        "act": "gelu",
        "norm": "ln",
        "squeeze_excitation": 0.0,
        "layer_scale": 1e-6,
        "drop_path": 0.0,
        "head_dropout": 0.0,
        "blur_pool": False,
        "normalize": "half",
    },
    "weights": {
        "pretrained": False,
        "init": "",
        "entry": "scored",
        "allow": [],
        "clean_epochs": 0,
    },
    "freeze": "none",
    "threat": {"norm": "linf", "eps": "4/255"},
    "attack": {
        "name": "apgd",
        "steps": 2,
        "reach": 1.5,
        "noise": 0.0,
        "project": True,
        "loss": "ce",
        "target": "none",
        "fraction": 1.0,
        "also": [],
        "union": "max",
    },
    "objective": {"name": "at", "beta": 6.0},
    "eps_schedule": {"shape": "linear", "start": 0.0, "delay": 0.0, "ramp": 0.0},
    "steps_schedule": {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0},
    "resolution_schedule": {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0},
    "augment": {
        "crop_scale": 1.0,
        "pad_crop": 0.0,
        "flip": 0.0,
        "rotation": 0.0,
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
        "lr_scaling": "linear",
        "weight_decay": 0.05,
        "betas": [0.9, 0.95],
        "layer_decay": 1.0,
        "schedule": "cosine",
        "warmup": 0.1,
        "warmup_lr": 0.0,
        "decay_after_warmup": True,
        "cooldown": 0.0,
        "final_lr": 0.01,
        "step_every": 0.3,
        "clip_norm": 1.0,
    },
    "label_smoothing": 0.1,
    "ema_horizon": 0.0,
    "epochs": 3,
    "batch_size": 8,
    "non_finite": "stop",
    "compute": {
        "precision": "fp32",
        "channels_last": False,
        "compile": False,
        "accumulation": 1,
        "checkpointing": False,
        "sync_bn": False,
        "loaders": 0,
    },
    "seed": 5,
}


TIMM: dict[str, Any] = {
    "family": "timm",
    "name": "resnet18",
    "stem": "own",
    "drop_path": 0.0,
    "head_dropout": 0.0,
    "blur_pool": False,
    "normalize": "none",
}


def timm_config(name: str) -> TimmConfig:
    """Returns the config of a model of timm."""
    return TimmConfig.model_validate({**TIMM, "name": name})


def base_trial(**changes: dict[str, Any] | float | str) -> dict[str, Any]:
    """Returns `BASE` with each section updated by, or each value replaced by, a change."""
    tree = dict(BASE)
    for name, change in changes.items():
        tree[name] = {**tree[name], **change} if isinstance(change, dict) else change
    return tree
