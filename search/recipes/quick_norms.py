"""Croce and Hein 2022: a model robust in one norm becomes robust in others within a few epochs.

Their training attack is the one of Singh et al. 2023. "code" is train.py and what it calls.
"""

from search.recipes.parts import (
    ADVERSARIAL_TRAINING,
    CONSTANT_STEPS_AND_SIZE,
    EPS_FROM_THE_START,
    ONE_THREAT,
)
from search.recipes.recipe import Recipe

QUICK_NORMS = Recipe(
    title="from a model robust in one norm to others, within 3 epochs: APGD, SGD in steps",
    paper="Croce, Hein 2022, Adversarial Robustness against Multiple and Single lp-Threat Models "
    "via Quick Fine-Tuning of Robust Classifiers, arXiv:2105.12508",
    code="fra31/robust-finetuning at 76b8b9a",
    applied={
        **ONE_THREAT,
        "attack.name": ("apgd", "README: --attack=apgd; code: the best iterate"),
        "attack.steps": (10, "not stated; ours: --at_iter has no default"),
        "attack.reach": (1.5, "not stated; ours: APGD sets its own steps; not read"),
        "attack.noise": (0.0, "code: APGD starts at the clean image"),
        "attack.project": (True, "code: each step is put back into ball and box"),
        "attack.loss": ("ce", "code: cross-entropy"),
        **ADVERSARIAL_TRAINING,
        **EPS_FROM_THE_START,
        **CONSTANT_STEPS_AND_SIZE,
        "augment.crop_scale": (1.0, "code: no resized crop"),
        "augment.pad_crop": (4 / 32, "code: RandomCrop of 32 pixels, padding 4"),
        "augment.flip": (0.5, "code: RandomHorizontalFlip, torchvision's 0.5"),
        "augment.rotation": (0.0, "code: no rotation"),
        "augment.color_jitter": (0.0, "code: no colour jitter"),
        "augment.randaugment": (0.0, "code: no RandAugment"),
        "augment.erasing": (0.0, "code: no erasing"),
        "augment.mixup": (0.0, "code: no MixUp"),
        "augment.cutmix": (0.0, "code: no CutMix"),
        "optim.name": ("sgd", "code: SGD"),
        "optim.lr": (0.01, "code default: lr-max 0.01"),
        "optim.lr_scaling": ("none", "code: lr is not scaled by the batch"),
        "optim.weight_decay": (5e-4, "code default: weight_decay 5e-4"),
        "optim.betas": ([0.9, 0.999], "code: momentum 0.9; SGD does not read the second"),
        "optim.layer_decay": (1.0, "code: no layer decay"),
        "optim.schedule": ("step", "README: lr-schedule piecewise-ft, a tenth after each third"),
        "optim.warmup": (0.0, "code: no warm-up"),
        "optim.warmup_lr": (1.0, "code: no warm-up; not read"),
        "optim.decay_after_warmup": (False, "code: no warm-up; not read"),
        "optim.cooldown": (0.0, "code: no cool-down"),
        "optim.final_lr": (0.01, "code: a hundredth in the last third"),
        "optim.step_every": (1 / 3, "code: after 1/3 and 2/3 of the epochs"),
        "optim.clip_norm": (0.0, "code: no clipping"),
        "label_smoothing": (0.0, "code: cross-entropy without smoothing"),
        "ema_horizon": (0.0, "code: no average"),
        "model.drop_path": (0.0, "code: the model as it is; its ResNets have none"),
    },
    task={
        "data.source": ("cifar10", "code: the one data set; the abstract: also ImageNet"),
        "data.resolution": (32, "code: CIFAR-10"),
        "threat.norm": ("linf", "code default: l_norms Linf L1"),
        "threat.eps": ("8/255", "code: eps_dict (4/255 on ImageNet)"),
        "attack.also": ("l1, eps 12", "code: eps_dict (255 on ImageNet)"),
        "attack.union": ("alternate", "code: one norm for each batch"),
        "epochs": (3, "abstract: 3 epochs (1 on ImageNet); the code's default is 20"),
        "batch_size": (128, "code default: batch_size 128"),
        "optim.reference_batch": ("any", "lr is not scaled; not read"),
        "model": ("PreAct ResNet-18", "README; or any model of RobustBench"),
        "model.normalize": ("its own", "code: the model is taken as it is"),
        "initial weights": ("robust", "README: robust in linf, l2 or l1, of the same classes"),
        "compute.precision": ("fp32", "code: no autocast"),
    },
    deviations=(
        "No recipe sets `weights`: name the robust model in weights.init; nothing may differ.",
        "The norm of a batch is drawn there, more often the one under which more images of the run "
        "were lost; attack.union=alternate takes them in turn. For one new norm (README) set "
        "threat alone.",
        "Momentum is plain there, Nesterov's here; decay acts on biases and norms, too, there.",
        "lr is that of the end of a step there, of its beginning here.",
    ),
)
