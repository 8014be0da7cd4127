"""Singh et al. 2023: heavy augmentation, APGD-2, an EMA, a convolutional stem, from a clean model.

"script" is run_train.sh, "code" main.py and what it calls.
"""

from search.recipes.parts import (
    ADVERSARIAL_TRAINING,
    CONSTANT_STEPS_AND_SIZE,
    EPS_FROM_THE_START,
    HEAVY_AUGMENTATION,
    ONE_THREAT,
)
from search.recipes.recipe import Recipe

REVISITING = Recipe(
    title="heavy augmentation, APGD-2, EMA, convolutional stem, long, from a clean model",
    paper="Singh, Croce, Hein 2023, Revisiting Adversarial Training for ImageNet, arXiv:2303.01870",
    code="nmndeep/revisiting-at at d7166c0",
    applied={
        **ONE_THREAT,
        "attack.name": ("apgd", "script: attack apgd; the best iterate"),
        "attack.steps": (2, "script: n_iter 2"),
        "attack.reach": (1.5, "not stated; ours: APGD sets its own steps, from 2 eps; not read"),
        "attack.noise": (0.0, "code: APGD starts at the clean image"),
        "attack.project": (True, "code: each step is put back into ball and box"),
        "attack.loss": ("ce", "code: cross-entropy with MixUp's targets"),
        **ADVERSARIAL_TRAINING,
        **EPS_FROM_THE_START,
        **CONSTANT_STEPS_AND_SIZE,
        **HEAVY_AUGMENTATION,
        "optim.name": ("adamw", "code: AdamW"),
        "optim.lr": (1e-3, "script: lr 1e-3"),
        "optim.lr_scaling": ("none", "code: lr is not scaled by the batch"),
        "optim.weight_decay": (0.05, "code default: weight_decay 0.05"),
        "optim.betas": ([0.9, 0.95], "code: betas 0.9, 0.95"),
        "optim.layer_decay": (1.0, "code: no layer decay"),
        "optim.schedule": ("cosine", "code default: lr_schedule_type cosine"),
        "optim.warmup": (20 / 300, "script: lr_peak_epoch 20, epochs 300"),
        "optim.warmup_lr": (1e-4, "code: rises from 1e-4 x lr"),
        "optim.decay_after_warmup": (True, "code: the cosine begins at the peak"),
        "optim.cooldown": (0.0, "code: no cool-down"),
        "optim.final_lr": (5e-6 / 1e-3, "code: the cosine ends at 5e-6, of lr 1e-3"),
        "optim.step_every": (30 / 300, "code default: step_length 30, of 300; not read"),
        "optim.clip_norm": (0.0, "code: no clipping"),
        "label_smoothing": (0.1, "script: label_smoothing 0.1 (the README's 1 is a slip)"),
        # 80 images on each GPU; the number of GPUs is not published, 8 make 600,547 steps of 640.
        "ema_horizon": (10_000 / 600_547, "code: decay 0.9999; of 300 epochs at batch 640, ours"),
        "model.drop_path": (0.0, "code: timm's default, none"),
        "model.normalize": ("none", "script: add_normalization 0 (1 for the ViT-S)"),
        "model.stem": ("conv", "script: not_original 1, the ConvStem"),
    },
    task={
        "data.resolution": (224, "script: res 224"),
        "threat.norm": ("linf", "script: norm Linf"),
        "threat.eps": ("4/255", "code default: eps 4/255"),
        "epochs": (300, "script: epochs 300; 50 to 300 in all, 250 for ConvNeXt-B"),
        "batch_size": ("80 per GPU", "script: batch_size 80; the number of GPUs is not published"),
        "optim.reference_batch": ("any", "lr is not scaled; not read"),
        "model": ("ConvNeXt-T + ConvStem", "also S, B, L and ViT-S, M, B, each with a ConvStem"),
        "initial weights": ("clean-trained", "timm's weights, new stem, trained without an attack"),
        "compute.precision": ("fp16", "code default: autocast with a loss scaler"),
    },
    deviations=(
        "No recipe sets `weights`: where the base starts from random ones, so does this recipe, "
        "and without an eps warm-up; the published models start from clean-trained ones "
        "(weights.clean_epochs, or weights.init with a clean model).",
        "The horizon of the EMA rests on 8 GPUs. Theirs averages from the first step at 0.9999, "
        "ours rises to that decay; buffers are averaged there, copied here.",
        "fp16 there, in the attack without loss scaling, so that small gradients can become 0; "
        "here compute.precision, which no recipe sets.",
        "Weight decay spares fewer weights there: on ConvNeXts it also acts on LayerNorm and "
        "LayerScale, on ViTs on position embeddings and class token.",
        "Erasing fills with N(0, 1) there, outside [0, 1], which the attack cuts off; with values "
        "in [0, 1] here. RandAugment fills corners with black there, with mid gray here.",
        "lr is computed at the ends of epochs and interpolated there, at every step here.",
        "Every epoch has the same order of images there; a new one here.",
        "Only the kind of stem is the recipe's; its convolutions are the task's.",
    ),
)
