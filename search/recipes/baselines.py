"""One more config of Debenedetti et al. 2023: a ResNet-50 after Bai et al. 2021."""

from search.recipes.debenedetti import (
    ATTACK,
    CODE,
    EPS_PER_EPOCH,
    EPS_STEP,
    EPS_WARMUP,
    HARD_LABELS,
    IMAGENET,
    LIGHT_AUGMENTATION,
    PAPER,
    PER_EPOCH,
    TRAIN_MODE,
)
from search.recipes.parts import (
    ADVERSARIAL_TRAINING,
    CONSTANT_STEPS_AND_SIZE,
)
from search.recipes.recipe import Recipe

BAI_RESNET = Recipe(
    title="a ResNet with GELU by SGD in steps, light augmentation, eps warm-up, FGSM",
    paper=f"Bai et al. 2021, arXiv:2111.05464, as configured by {PAPER}",
    code=f"{CODE}: config = resnet-adv-training.yaml",
    applied={
        **ATTACK,
        **ADVERSARIAL_TRAINING,
        **EPS_WARMUP,
        "eps_schedule.ramp": (10 / 100, "config: eps_schedule_period 10, of 100"),
        **CONSTANT_STEPS_AND_SIZE,
        **LIGHT_AUGMENTATION,
        "augment.color_jitter": (0.0, "config: color_jitter null"),
        "optim.name": ("sgd", "config: opt sgd, which is timm's with Nesterov momentum"),
        "optim.lr": (3.2, "config: lr 3.2"),
        "optim.lr_scaling": ("linear", "README: lr may be scaled as in DeiT, linearly"),
        "optim.weight_decay": (1e-4, "config: weight_decay 1e-4"),
        "optim.betas": ([0.9, 0.999], "config: momentum 0.9; SGD does not read the second"),
        "optim.layer_decay": (1.0, "code: no layer decay"),
        "optim.schedule": ("step", "config: sched step, decay_rate 0.1"),
        "optim.warmup": (5 / 100, "config: warmup_epochs 5, of 100"),
        "optim.warmup_lr": (1.0, "config: warmup_lr 3.2 of lr 3.2, so no warm-up"),
        "optim.decay_after_warmup": (False, "timm default: steps count from epoch 0"),
        "optim.cooldown": (0.0, "config: cooldown_epochs 10, which timm's step schedule ignores"),
        "optim.final_lr": (1e-5 / 3.2, "config: min_lr 1e-5 of lr 3.2; never reached"),
        "optim.step_every": (30 / 100, "config: decay_epochs 30, of 100"),
        "optim.clip_norm": (0.0, "config: clip_grad null"),
        "label_smoothing": (0.1, "config: smoothing 0.1"),
        "ema_horizon": (0.0, "config: model_ema false"),
        "model.drop_path": (0.0, "config: drop_path 0"),
        "model.normalize": ("half", "config: normalize_model true, mean 0.5, std 0.5"),
    },
    task={
        **IMAGENET,
        "epochs": (100, "config: epochs 100; its cooldown_epochs 10 have no effect"),
        "batch_size": (512, "config: batch_size 64 a core, README: 8 cores; see below"),
        "optim.reference_batch": (512, "not stated; ours, the batch above; see below"),
        "model": ("ResNet-50, GELU", "config: resnet50_gelu"),
    },
    deviations=(
        EPS_PER_EPOCH,
        EPS_STEP,
        PER_EPOCH,
        HARD_LABELS,
        TRAIN_MODE,
        "The batch that lr 3.2 is for is not stated. The usual 0.1 per 256 images would make it "
        "8192; for 512, as config and README read, 3.2 is 16 times as much.",
    ),
)
