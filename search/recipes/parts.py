"""What recipes of different papers decide alike."""

from search.recipes.recipe import Decisions

ONE_THREAT: Decisions = {
    "attack.target": ("none", "code: untargeted"),
    "attack.fraction": (1.0, "code: every image is attacked"),
}
ADVERSARIAL_TRAINING: Decisions = {
    "objective.name": ("at", "code: cross-entropy on the attacked images alone"),
    "objective.beta": (6.0, "not stated; ours, as in TRADES; not read"),
}
CONSTANT_STEPS_AND_SIZE: Decisions = {
    "steps_schedule.shape": ("constant", "code: the same number of steps throughout"),
    "steps_schedule.start": (1.0, "constant"),
    "steps_schedule.delay": (0.0, "constant"),
    "steps_schedule.ramp": (0.0, "constant"),
    "resolution_schedule.shape": ("constant", "code: the same resolution throughout"),
    "resolution_schedule.start": (1.0, "constant"),
    "resolution_schedule.delay": (0.0, "constant"),
    "resolution_schedule.ramp": (0.0, "constant"),
}
EPS_FROM_THE_START: Decisions = {
    "eps_schedule.shape": (
        "linear",
        "no eps schedule; the shape of a ramp of length 0 is not read",
    ),
    "eps_schedule.start": (0.0, "no eps schedule; not read"),
    "eps_schedule.delay": (0.0, "no eps schedule"),
    "eps_schedule.ramp": (0.0, "no eps schedule: the final eps from the first step"),
}
HEAVY_AUGMENTATION: Decisions = {
    "augment.crop_scale": (0.08, "RandomResizedCrop, scale 0.08 to 1"),
    "augment.pad_crop": (0.0, "code: no padded crop"),
    "augment.flip": (0.5, "hflip 0.5"),
    "augment.rotation": (0.0, "code: no rotation"),
    "augment.color_jitter": (
        0.0,
        "color_jitter 0.4, which timm leaves out where RandAugment is on",
    ),
    "augment.randaugment": (9.0, "rand-m9-mstd0.5-inc1"),
    "augment.erasing": (0.25, "reprob 0.25, mode pixel, count 1"),
    "augment.mixup": (0.8, "mixup 0.8, by batch"),
    "augment.cutmix": (1.0, "cutmix 1.0, by batch, switched with MixUp at 0.5"),
}
FLOORS = (
    "min_lr and warmup_lr are absolute there; here they are fractions of the peak, so they agree "
    "only where the peak is the published one."
)
