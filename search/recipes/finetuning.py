"""Debenedetti et al. 2023 from a robust model of ImageNet to another data set.

"config" is a file of their configs/, "code" their src/ or the timm that it runs on.
"""

from search.recipes.debenedetti import (
    CODE,
    HARD_LABELS,
    LIGHT_AUGMENTATION,
    PAPER,
    PER_EPOCH,
    TRAIN_MODE,
    XCIT,
)
from search.recipes.parts import EPS_FROM_THE_START, FLOORS, HEAVY_AUGMENTATION
from search.recipes.recipe import Decisions, Recipe

AT_EPS_8: Decisions = {
    "threat.norm": ("linf", "config: attack_norm linf"),
    "threat.eps": ("8/255", "config: attack_eps 8"),
    "compute.precision": ("fp32", "config: amp false"),
}
FROM_IMAGENET: Decisions = {
    "initial weights": ("robust", "README: XCiT of ImageNet at eps 8/255, 2 steps; head new"),
    "weights.allow": ("head, normalize", "code: a new head, and a normalisation is put in front"),
}
SETS_NO_WEIGHTS = (
    "No recipe sets `weights`: name the robust model in weights.init, with weights.allow [head, "
    "normalize], for it was trained without the normalisation that it gets here."
)

LIGHT_FINETUNING = Recipe(
    title="from a robust ImageNet model to Caltech-101 or Flowers: light augmentation, FGSM",
    paper=PAPER,
    code=f"{CODE}: config = xcit-adv-finetuning-hi-res.yaml",
    applied={
        **XCIT,
        **EPS_FROM_THE_START,
        **LIGHT_AUGMENTATION,
        "optim.lr": (5e-5, "config: lr 5e-5, for a batch of 512"),
        "optim.lr_scaling": ("linear", "README: lr may be scaled as in DeiT, linearly"),
        "optim.weight_decay": (0.5, "config: weight_decay 0.5"),
        "optim.warmup": (5 / 30, "config: warmup_epochs 5, of 30"),
        "optim.warmup_lr": (1e-6 / 5e-5, "config: warmup_lr 1e-6, of lr 5e-5"),
        "optim.decay_after_warmup": (False, "timm default: the cosine spans epochs 0 to 20"),
        "optim.cooldown": (10 / 30, "config: cooldown_epochs 10, after 20 epochs of cosine"),
        "optim.final_lr": (5e-6 / 5e-5, "config: min_lr 5e-6, of lr 5e-5"),
        "optim.step_every": (1.0, "config: decay_epochs 100, more than all 30; not read"),
        "model.normalize": ("half", "config: normalize_model true, mean 0.5, std 0.5"),
    },
    task={
        **AT_EPS_8,
        **FROM_IMAGENET,
        "data.source": ("caltech101", "config: tfds/caltech101; README: also Oxford Flowers"),
        "data.resolution": (224, "config: input_size 224, as before"),
        "epochs": (30, "config: epochs 20 + cooldown_epochs 10"),
        "batch_size": (512, "config: batch_size 64 a core, README: 8 cores"),
        "optim.reference_batch": (512, "README: lr is that of 8 cores, the batch above"),
        "model": ("XCiT-S12", "config: xcit_small_12_p16_224; also ResNet-50"),
    },
    deviations=(SETS_NO_WEIGHTS, PER_EPOCH, FLOORS, HARD_LABELS, TRAIN_MODE),
)
CIFAR_TRADES = Recipe(
    title="TRADES on CIFAR: beta 6, 10 steps, light augmentation, from a robust model",
    paper=PAPER,
    code=f"{CODE}: config = xcit-adv-finetuning.yaml",
    applied={
        **XCIT,
        **EPS_FROM_THE_START,
        "attack.steps": (10, "config: attack_steps 10"),
        "attack.noise": (1.0, "code: start U(-eps, eps); Zhang et al. start at 0.001 N(0, 1)"),
        "attack.loss": ("kl", "code: the divergence from the clean prediction"),
        "objective.name": ("trades", "config: adv_training trades"),
        "objective.beta": (6.0, "config: trades_beta 6"),
        "augment.crop_scale": (1.0, "config: scale 1, ratio 1"),
        "augment.pad_crop": (4 / 32, "config: RandomCrop of 32 pixels, padding 4"),
        "augment.flip": (0.5, "config: hflip 0.5"),
        "augment.rotation": (2.0, "config: rotation 2 degrees"),
        "augment.color_jitter": (0.25, "config: color_jitter 0.25, without hue"),
        "augment.randaugment": (0.0, "config: aa None"),
        "augment.erasing": (0.0, "config: reprob 0"),
        "augment.mixup": (0.0, "config: mixup 0"),
        "augment.cutmix": (0.0, "config: cutmix 0"),
        "optim.lr": (2e-4, "config: lr 2e-4, for a batch of 512"),
        "optim.lr_scaling": ("sqrt", "config: lr = 2e-4 x sqrt(batch / 512)"),
        "optim.weight_decay": (0.5, "config: weight_decay 0.5"),
        "optim.warmup": (5 / 22, "config: warmup_epochs 5, of 22"),
        "optim.warmup_lr": (1e-6 / 2e-4, "config: warmup_lr 1e-6, of lr 2e-4"),
        "optim.decay_after_warmup": (False, "timm default: the cosine spans epochs 0 to 20"),
        "optim.cooldown": (2 / 22, "config: cooldown_epochs 2, after 20 epochs of cosine"),
        "optim.final_lr": (5e-6 / 2e-4, "config: min_lr 5e-6, of lr 2e-4"),
        "optim.step_every": (1.0, "config: decay_epochs 100, more than all 22; not read"),
        "label_smoothing": (0.0, "config: smoothing 0"),
        "model.normalize": ("cifar", "config: normalize_model true, CIFAR-10's mean and std"),
    },
    task={
        **AT_EPS_8,
        **FROM_IMAGENET,
        "data.source": ("cifar10", "config: torch/cifar10; README: also CIFAR-100"),
        "data.resolution": (32, "config: input_size 32"),
        "epochs": (22, "config: epochs 20 + cooldown_epochs 2"),
        "batch_size": (1024, "config: batch_size 128 a core, README: 8 cores"),
        "optim.reference_batch": (512, "config: lr is stated for 512 images"),
        "model": (
            "XCiT-S12, patch 4",
            "code: strides of the patch embedding; timm has no such name",
        ),
        "model.patch_size": (
            4,
            "code: 16 before; the first two of four convolutions keep the size",
        ),
        "model.stem_convs": (4, "code: as before, so that every weight of the stem fits"),
    },
    deviations=(
        SETS_NO_WEIGHTS,
        "From random weights it was not made to train: their own from scratch takes 100 + 2 "
        "epochs.",
        PER_EPOCH,
        FLOORS,
        TRAIN_MODE,
        "std of CIFAR-10's red channel is 0.2471 there, 0.2470 here; CIFAR-100 has its own there.",
    ),
)
NANO_FINETUNING = Recipe(
    title="a nano XCiT from a robust model to CIFAR by SGD: heavy augmentation, FGSM, long",
    paper=f"{PAPER}; the paper has no such model",
    code=f"{CODE}: config = xcit-nano-adv-finetuning.yaml",
    applied={
        **XCIT,
        **EPS_FROM_THE_START,
        **HEAVY_AUGMENTATION,
        "optim.name": ("sgd", "config: opt sgd, which is timm's with Nesterov momentum"),
        "optim.lr": (5e-3, "config: lr 5e-3"),
        "optim.lr_scaling": ("linear", "README: lr may be scaled as in DeiT, linearly"),
        "optim.weight_decay": (0.05, "config: weight_decay 0.05"),
        "optim.betas": ([0.9, 0.999], "config: momentum 0.9; SGD does not read the second"),
        "optim.warmup_lr": (1e-6 / 5e-3, "config: warmup_lr 1e-6, of lr 5e-3"),
        "optim.final_lr": (1e-5 / 5e-3, "config: min_lr 1e-5, of lr 5e-3"),
        "model.drop_path": (0.0, "config: drop_path 0"),
    },
    task={
        **AT_EPS_8,
        "data.source": ("cifar10", "config: torch/cifar10"),
        "data.resolution": (224, "config: input_size null, timm's 224"),
        "epochs": (110, "config: epochs 100 + cooldown_epochs 10"),
        "batch_size": (1024, "config: batch_size 128 a core, README: 8 cores"),
        "optim.reference_batch": (1024, "not stated; ours, the batch above"),
        "model": ("XCiT-N12", "config: xcit_nano_12_p16_224"),
        "initial weights": ("robust", "not stated; ours, after the name of the config"),
        "weights.allow": ("head", "code: a new head"),
    },
    deviations=(
        "No recipe sets `weights`: name a robust model in weights.init, with weights.allow [head].",
        "No model and no number was published with this config.",
        PER_EPOCH,
        FLOORS,
        HARD_LABELS,
        TRAIN_MODE,
        "Erasing draws from N(0.5, 0.25) truncated to [0, 1] there, cut to it here; RandAugment "
        "fills corners with ImageNet's mean colour there, with mid gray here.",
    ),
)
