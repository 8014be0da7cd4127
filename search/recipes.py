"""The published recipes, scaled to any task: what they set, as dotted paths of a `TrialConfig`.

Epochs became fractions of training, an EMA's decay its horizon as a fraction of all steps, and the
learning rate is stated for the task's reference batch, which stands for the recipe's own.
Not carried over: initial weights (`revisiting` starts from a clean-trained model), architecture,
resolution, data and length; they belong to the task.
"""

from typing import Any

_HEAVY: dict[str, Any] = {
    "augment.crop_scale": 0.08,
    "augment.flip": 0.5,
    "augment.randaugment": 9.0,
    "augment.erasing": 0.25,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    # timm leaves colour jitter out where RandAugment is on.
    "augment.color_jitter": 0.0,
}
_XCIT: dict[str, Any] = {
    "attack.name": "pgd",
    "attack.steps": 1,
    "optim.name": "adamw",
    "optim.lr": 5e-4,  # per 512 images
    "optim.betas": [0.9, 0.999],
    "optim.warmup": 10 / 110,
    "optim.final_lr": 1e-5 / 5e-4,
    "optim.clip_norm": 0.0,
    "label_smoothing": 0.1,
    "ema_horizon": 0.0,
    "model.drop_path": 0.05,
}

RECIPES: dict[str, dict[str, Any]] = {
    # The standard recipe of DeiT and XCiT with adversarial images: the baseline of Debenedetti et
    # al. 2023, arXiv:2209.07399.
    "canonical": {
        **_XCIT,
        **_HEAVY,
        "eps_schedule.shape": "linear",
        "eps_schedule.ramp": 0.0,
        "optim.weight_decay": 0.05,
    },
    # Debenedetti et al. 2023: light augmentation, ten times the weight decay, eps warm-up.
    "light": {
        **_XCIT,
        "augment.crop_scale": 0.08,
        "augment.flip": 0.5,
        "augment.color_jitter": 0.4,
        "augment.randaugment": 0.0,
        "augment.erasing": 0.0,
        "augment.mixup": 0.0,
        "augment.cutmix": 0.0,
        "eps_schedule.shape": "linear",
        "eps_schedule.ramp": 10 / 110,
        "optim.weight_decay": 0.5,
    },
    # Singh et al. 2023, arXiv:2303.01870: heavy augmentation, APGD-2, EMA, conv stem.
    "revisiting": {
        **_HEAVY,
        "attack.name": "apgd",
        "attack.steps": 2,
        "eps_schedule.shape": "linear",
        "eps_schedule.ramp": 0.0,
        "model.stem": "conv",
        "model.drop_path": 0.0,
        "optim.name": "adamw",
        "optim.lr": 1e-3,
        "optim.betas": [0.9, 0.95],
        "optim.weight_decay": 0.05,
        "optim.warmup": 20 / 300,
        "optim.final_lr": 5e-6 / 1e-3,
        "optim.clip_norm": 0.0,
        "label_smoothing": 0.1,
        # Decay 0.9999 over 300 epochs of 1,281,167 images in batches of 640 (80 on 8 GPUs; the
        # number of GPUs is not published): 10,000 of 600,547 steps.
        "ema_horizon": 10_000 / 600_547,
    },
}
