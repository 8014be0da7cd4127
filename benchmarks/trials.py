"""The trials that benchmarks run: our configs and models, on images of noise."""

from typing import Any

import torch
from torch import Tensor

from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.group import alone
from trainers.session import Session, begin_session

CONSTANT = {"shape": "constant", "start": 1.0, "delay": 0.0, "ramp": 0.0}
CONVNEXT_SMALL: dict[str, Any] = {
    "family": "convnext",
    "stem": "conv",
    "stem_stride": 4,
    "stem_convs": 2,
    "stem_widths": "doubling",
    "stem_projection": False,
    "stem_norm": "ln",
    "stem_act": "gelu",
    "depths": [2, 2, 4, 2],
    "widths": [24, 48, 96, 192],
    "kernel_size": 7,
    "act": "gelu",
    "norm": "ln",
    "squeeze_excitation": 0.0,
    "layer_scale": 1e-6,
    "drop_path": 0.0,
    "head_dropout": 0.0,
    "blur_pool": False,
    "normalize": "none",
}
CONVNEXT_TINY = {**CONVNEXT_SMALL, "depths": [3, 3, 9, 3], "widths": [96, 192, 384, 768]}


def timm_model(name: str) -> dict[str, Any]:
    """Returns the config of a model of timm."""
    return {
        "family": "timm",
        "name": name,
        "stem": "own",
        "drop_path": 0.0,
        "head_dropout": 0.0,
        "blur_pool": False,
        "normalize": "none",
    }


CPU_MODELS: dict[str, tuple[dict[str, Any], int, int]] = {
    "convnext 24-192 cv-stem": (CONVNEXT_SMALL, 64, 32),
    "vit_tiny": (timm_model("vit_tiny_patch16_224"), 96, 16),
    "xcit_nano": (timm_model("xcit_nano_12_p16_224"), 96, 32),
}
"""Model, resolution and batch of the small variants for two cores."""
GPU_MODELS: dict[str, tuple[dict[str, Any], int, int]] = {
    "convnext_tiny cv-stem": (CONVNEXT_TINY, 224, 128),
    "vit_small": (timm_model("vit_small_patch16_224"), 224, 128),
    "xcit_small_12": (timm_model("xcit_small_12_p16_224"), 224, 128),
}
RECIPE: dict[str, Any] = {
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
    "eps_schedule": CONSTANT,
    "steps_schedule": CONSTANT,
    "resolution_schedule": CONSTANT,
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
        "lr_scaling": "none",
        "weight_decay": 0.05,
        "betas": [0.9, 0.95],
        "layer_decay": 1.0,
        "schedule": "cosine",
        "warmup": 0.1,
        "warmup_lr": 0.0,
        "decay_after_warmup": True,
        "cooldown": 0.0,
        "final_lr": 0.005,
        "step_every": 0.3,
        "clip_norm": 0.0,
    },
    "label_smoothing": 0.1,
    "ema_horizon": 0.0,
    "epochs": 10,
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
    "seed": 0,
}
"""All that is the same in every benchmark, but for data, model and batch."""


def trial(model: dict[str, Any], resolution: int, batch: int, **changes: Any) -> TrialConfig:
    """Returns an APGD-2 trial without EMA, clipping or ramps, with `changes` to its sections."""
    tree: dict[str, Any] = {
        **RECIPE,
        "data": {
            "source": "photos",
            "resolution": resolution,
            "train_images": 12 * batch,
            "select_images": 12,
            "test_images": 12,
            "seed": 0,
        },
        "model": model,
        "optim": {**RECIPE["optim"], "reference_batch": batch},
        "batch_size": batch,
    }
    for section, change in changes.items():
        is_section = isinstance(change, dict)
        tree[section] = {**tree[section], **change} if is_section else change
    return TrialConfig.model_validate(tree)


def session(config: TrialConfig, device: torch.device) -> Session:
    """Begins a trial whose images nobody reads: each benchmark brings its own batch."""
    size, side = config.data.train_images, config.data.resolution
    assert size != "all"
    images = ImageSet(
        images=torch.zeros(size, 3, 1, 1, dtype=torch.uint8).expand(size, 3, side, side),
        labels=torch.zeros(size, dtype=torch.int64),
    )
    return begin_session(config, images, group=alone(device), resume=None, start=None)


def batch(config: TrialConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns images of noise on [0, 1] and smoothed targets, on the device."""
    generator = torch.Generator().manual_seed(0)
    side, n = config.data.resolution, config.batch_size
    x = torch.rand(n, 3, side, side, generator=generator)
    y = torch.randint(config.data.num_classes, (n,), generator=generator)
    targets = torch.nn.functional.one_hot(y, config.data.num_classes) * 0.9 + 0.1 / 12
    return x.to(device), targets.to(device, torch.float32)
