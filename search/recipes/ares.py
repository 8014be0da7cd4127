"""Liu et al. 2023: heavy augmentation, PGD-3, an EMA, from the start at full eps.

"config" is any of their transformers' and ConvNeXts' train_configs/, which agree but for the model;
"code" is robust_training/adversarial_training.py and ares/utils/.
"""

from search.recipes.parts import (
    ADVERSARIAL_TRAINING,
    CONSTANT_STEPS_AND_SIZE,
    EPS_FROM_THE_START,
    FLOORS,
    HEAVY_AUGMENTATION,
    ONE_THREAT,
)
from search.recipes.recipe import Recipe

ARES = Recipe(
    title="heavy augmentation, PGD-3, EMA",
    paper="Liu et al. 2023, A Comprehensive Study on Robustness of Image Classification Models: "
    "Benchmarking and Rethinking, arXiv:2302.14301",
    code="thu-ml/ares at f4705c9: config = robust_training/train_configs/swin_base_*.yaml",
    applied={
        **ONE_THREAT,
        "attack.name": ("pgd", "code: PGD"),
        "attack.steps": (3, "code default: attack_it 3"),
        "attack.reach": (2.0, "code default: attack_step 8/255/3, eps 4/255: 3 steps of 2/3 eps"),
        "attack.noise": (1.0, "code: start U(-eps, eps), in spite of random_start=False"),
        "attack.project": (True, "code: each step is put back into ball and box"),
        "attack.loss": ("ce", "config: attack_criterion mixup, cross-entropy with MixUp's targets"),
        **ADVERSARIAL_TRAINING,
        **EPS_FROM_THE_START,
        **CONSTANT_STEPS_AND_SIZE,
        **HEAVY_AUGMENTATION,
        "optim.name": ("adamw", "config: opt adamw"),
        "optim.lr": (5e-4, "config: lrb 5e-4"),
        "optim.lr_scaling": ("linear", "code: lr = lrb x batch / 512"),
        "optim.weight_decay": (0.05, "config: weight_decay 0.05"),
        "optim.betas": ([0.9, 0.999], "config: opt_betas null, which is AdamW's default"),
        "optim.layer_decay": (1.0, "config: layer_decay null"),
        "optim.schedule": ("cosine", "config: sched cosine, at every step"),
        "optim.warmup": (5 / 300, "config: warmup_epochs 5, of 300"),
        "optim.warmup_lr": (1e-6 / 5e-4, "config: warmup_lr 1e-6, of lrb 5e-4"),
        "optim.decay_after_warmup": (False, "timm default: the cosine spans epochs 0 to 300"),
        "optim.cooldown": (0.0, "config: cooldown_epochs 0"),
        "optim.final_lr": (1e-5 / 5e-4, "config: min_lr 1e-5, of lrb 5e-4"),
        "optim.step_every": (30 / 300, "config: decay_epochs 30, of 300; not read"),
        "optim.clip_norm": (0.0, "config: clip_grad null"),
        "label_smoothing": (0.1, "config: smoothing 0.1"),
        # 64 images on each GPU, and run_train.sh starts 8: 750,684 steps of 512.
        "ema_horizon": (
            5_000 / 750_684,
            "config: model_ema_decay 0.9998; of 300 epochs at batch 512",
        ),
        "model.drop_path": (0.0, "config: drop_path 0"),
        "model.normalize": ("imagenet", "config: mean and std; code: the attack undoes them"),
    },
    task={
        "data.resolution": (224, "config: input_size 224"),
        "threat.norm": ("linf", "code: LinfStep"),
        "threat.eps": ("4/255", "code default: attack_eps 4/255"),
        "epochs": (300, "config: epochs 300 (Swin-L: 100)"),
        "batch_size": (512, "config: batch_size 64 a GPU, run_train.sh: 8 GPUs"),
        "optim.reference_batch": (512, "code: lrb is stated for 512 images"),
        "model": ("Swin-B", "config: swin_base_patch4_window7_224; also S, L, ConvNeXt, ViT"),
        "initial weights": (
            "random",
            "code: pretrained=False; not stated for the published models",
        ),
        "compute.precision": ("fp32", "config: native_amp false (Swin-L: true)"),
    },
    deviations=(
        "The length of a step rises over the first 5 epochs there, from 0 (random noise only) in "
        "fifths; the config has no schedule of the step, so it is whole from the start.",
        "Their attack keeps the iterate of the highest mean loss of the batch, and measures the "
        "last one without normalisation; ours keeps the last.",
        FLOORS,
        "The EMA averages from the first step at 0.9998 there; ours rises to that decay. The "
        "number of GPUs of the published models is not stated.",
        "Erasing fills normalised images with N(0, 1) there, partly outside [0, 1], which the "
        "attack cuts off; with values in [0, 1] here. RandAugment fills corners with ImageNet's "
        "mean colour there, with mid gray here.",
    ),
)
