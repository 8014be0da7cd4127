"""Debenedetti et al. 2023 on ImageNet: the canonical recipe of transformers, and their light one.

"config" is a file of their configs/, "code" their src/ or the timm that it runs on.
"""

from search.recipes.parts import (
    ADVERSARIAL_TRAINING,
    CONSTANT_STEPS_AND_SIZE,
    EPS_FROM_THE_START,
    FLOORS,
    HEAVY_AUGMENTATION,
    ONE_THREAT,
)
from search.recipes.recipe import Decisions, Recipe

PAPER = "Debenedetti, Sehwag, Mittal 2023, A Light Recipe to Train Robust ViTs, arXiv:2209.07399"
CODE = "dedeswim/vits-robustness-torch at 2f5a214"

ATTACK: Decisions = {
    **ONE_THREAT,
    "attack.name": ("pgd", "config: attack pgd, the last iterate"),
    "attack.steps": (1, "config: attack_steps 1"),
    "attack.reach": (1.5, "config: attack_lr null; code: step 1.5 eps / steps"),
    "attack.noise": (1.0, "code: start U(-eps, eps), put back into ball and box"),
    "attack.project": (True, "code: each step is put back into ball and box"),
    "attack.loss": ("ce", "code: cross-entropy"),
}
EPS_WARMUP: Decisions = {
    "eps_schedule.shape": ("linear", "config: eps_schedule linear"),
    "eps_schedule.start": (0.0, "code: epoch 0 has eps 0"),
    "eps_schedule.delay": (0.0, "code: zero_eps_epochs 0"),
}
LIGHT_AUGMENTATION: Decisions = {
    "augment.crop_scale": (0.08, "config: scale 0.08 to 1, ratio 3/4 to 4/3"),
    "augment.pad_crop": (0.0, "code: no padded crop"),
    "augment.flip": (0.5, "config: hflip 0.5"),
    "augment.rotation": (0.0, "code: no rotation"),
    "augment.color_jitter": (0.4, "config: color_jitter 0.4, without hue"),
    "augment.randaugment": (0.0, "config: aa None"),
    "augment.erasing": (0.0, "config: reprob 0"),
    "augment.mixup": (0.0, "config: mixup 0"),
    "augment.cutmix": (0.0, "config: cutmix 0"),
}
XCIT: Decisions = {
    **ATTACK,
    **ADVERSARIAL_TRAINING,
    **CONSTANT_STEPS_AND_SIZE,
    "optim.name": ("adamw", "config: opt adamw"),
    "optim.lr": (5e-4, "config: lr 5e-4, for a batch of 512"),
    "optim.lr_scaling": ("linear", "paper: 5e-4 x batch / 512, as in DeiT"),
    "optim.betas": ([0.9, 0.999], "config: opt_betas null, which is AdamW's default"),
    "optim.layer_decay": (1.0, "code: no layer decay"),
    "optim.schedule": ("cosine", "config: sched cosine"),
    "optim.warmup": (10 / 110, "config: warmup_epochs 10, of 110"),
    "optim.warmup_lr": (1e-6 / 5e-4, "config: warmup_lr 1e-6, of lr 5e-4"),
    "optim.decay_after_warmup": (False, "timm default: the cosine spans epochs 0 to 100"),
    "optim.cooldown": (10 / 110, "config: cooldown_epochs 10, after 100 epochs of cosine"),
    "optim.final_lr": (1e-5 / 5e-4, "config: min_lr 1e-5, of lr 5e-4"),
    "optim.step_every": (100 / 110, "config: decay_epochs 100, of 110; not read"),
    "optim.clip_norm": (0.0, "config: clip_grad null"),
    "label_smoothing": (0.1, "config: smoothing 0.1"),
    "ema_horizon": (0.0, "config: model_ema false"),
    "model.drop_path": (0.05, "config: drop_path 0.05"),
    "model.normalize": ("none", "config: no_normalize true, no normalize_model"),
}
IMAGENET: Decisions = {
    "data.resolution": (224, "config: input_size null, timm's 224"),
    "threat.norm": ("linf", "config: attack_norm linf"),
    "threat.eps": ("4/255", "config: attack_eps 4"),
    "epochs": (110, "config: epochs 100 + cooldown_epochs 10"),
    "batch_size": (
        512,
        "config: batch_size 64 a core, README: 8 cores; the paper: 256 on 64 cores",
    ),
    "optim.reference_batch": (512, "paper: lr is stated for 512 images"),
    "model": ("XCiT-S12", "config: xcit_small_12_p16_224; also M12, L12, DeiT-S, ConvNeXt-T"),
    "initial weights": ("random", "config: pretrained false"),
    "compute.precision": ("fp32", "config: amp false"),
}
PER_EPOCH = "lr is set once per epoch there, at every step here."
EPS_PER_EPOCH = "eps rises from epoch to epoch there, and epoch 0 is clean; from step to step here."
EPS_STEP = (
    "The attack's step is 1.5 x the final eps / steps there, also while eps rises; here 1.5 x the "
    "scheduled eps / steps. With 1 step theirs takes every pixel to +-eps while eps is at most 3/4 "
    "of its final value, ours three in four."
)
HARD_LABELS = (
    "The attack climbs the cross-entropy of the label there (of mixed targets: the larger one); "
    "here that of the smoothed and mixed targets that training fits."
)
TRAIN_MODE = (
    "The published models were trained on TPUs, where the attack ran in train mode (drop-path, "
    "batch statistics) around a bug of XLA; here it runs in eval mode, as their code does on a GPU."
)

CANONICAL = Recipe(
    title="the standard recipe of DeiT and XCiT on attacked images: heavy augmentation, FGSM",
    paper=PAPER,
    code=f"{CODE}: config = xcit-adv-training.yaml with the augmentation and decay of xcit.yaml",
    applied={
        **XCIT,
        **EPS_FROM_THE_START,
        **HEAVY_AUGMENTATION,
        "optim.weight_decay": (0.05, "xcit.yaml: weight_decay 0.05"),
    },
    task=IMAGENET,
    deviations=(
        PER_EPOCH,
        FLOORS,
        HARD_LABELS,
        TRAIN_MODE,
        "Erasing draws from N(0.5, 0.25) truncated to [0, 1] there, cut to it here; RandAugment "
        "fills corners with ImageNet's mean colour there, with mid gray here.",
        "xcit.yaml, which trains without an attack, warms up for 5 epochs and has aug_splits 3; "
        "the paper changes only augmentation, eps warm-up and decay: 10 epochs, no splits here.",
    ),
)
LIGHT = Recipe(
    title="light augmentation, weight decay 0.5, eps warm-up, FGSM",
    paper=PAPER,
    code=f"{CODE}: config = xcit-adv-training.yaml",
    applied={
        **XCIT,
        **EPS_WARMUP,
        "eps_schedule.ramp": (
            10 / 110,
            "config: eps_schedule_period 10, of 110 (20 on ImageNet-100)",
        ),
        **LIGHT_AUGMENTATION,
        "optim.weight_decay": (0.5, "config: weight_decay 0.5 (PoolFormer-M12 keeps 0.05)"),
    },
    task=IMAGENET,
    deviations=(
        EPS_PER_EPOCH,
        EPS_STEP,
        PER_EPOCH,
        FLOORS,
        HARD_LABELS,
        TRAIN_MODE,
        "XCiT-L12, and every model at eps 8/255, took attack.steps=2: with 1 step the label leaks.",
    ),
)
