"""One trial, completely: data, model, threat, attack, schedules, augmentation, optimiser.

Schedules are fractions of training and the learning rate is stated for a reference batch, so that
a recipe means the same at every fidelity and on every number of workers. Light: no torch.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.config import Config, ModelConfig
from trainers.threat import ThreatModel

Fraction = Annotated[float, Field(ge=0, le=1)]

PHOTO_CLASSES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
"""Functions of `skimage.data`: each photograph is a class of the embedded task."""


class DataConfig(Config):
    """Which images are trained on, which select, which are read once at the end."""

    source: Literal["photos"]
    """`photos`: the embedded task, random crops of the photographs in scikit-image's wheel."""
    resolution: int = Field(ge=16, multiple_of=4)
    """Side of the square images, in pixels."""
    train_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the train split; a smaller one is the beginning of a larger one."""
    select_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the split that ranks trials."""
    test_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the split that only finished, promoted models see."""
    seed: int = Field(ge=0)
    """Seed of every random choice of the data set."""

    @property
    def num_classes(self) -> int:
        return len(PHOTO_CLASSES)


class AttackConfig(Config):
    """The attack that makes training examples, in eval mode, from the clean image."""

    name: Literal["pgd", "apgd"]
    """`pgd`: random start, steps of 1.5 eps / steps, last iterate (Debenedetti et al. 2023,
    arXiv:2209.07399). `apgd`: no random start, best iterate (Singh et al. 2023)."""
    steps: int = Field(ge=1)


class EpsScheduleConfig(Config):
    """Radius during training: rises from 0 to `threat.eps`, then stays."""

    shape: Literal["linear", "cosine"]
    ramp: Fraction
    """Fraction of training over which eps rises; 0 is the constant schedule."""


class AugmentConfig(Config):
    """Augmentations in the order in which they are applied; 0 switches one off."""

    crop_scale: float = Field(gt=0, le=1)
    """Least area of RandomResizedCrop as a fraction of the image; 1 switches it off."""
    flip: Fraction
    """Probability of a horizontal flip."""
    color_jitter: float = Field(ge=0, lt=1)
    """Strength of brightness, contrast and saturation jitter; 0.4 in DeiT."""
    randaugment: float = Field(ge=0, le=10)
    """Magnitude of timm's `rand-mM-mstd0.5-inc1`; 9 in DeiT."""
    erasing: Fraction
    """Probability of RandomErasing, filled inside [0, 1]; 0.25 in DeiT."""
    mixup: float = Field(ge=0)
    """Beta parameter of MixUp; 0.8 in DeiT."""
    cutmix: float = Field(ge=0)
    """Beta parameter of CutMix; 1.0 in DeiT. With MixUp on too, each batch draws one of them."""


class OptimConfig(Config):
    """Optimiser and learning-rate schedule: linear warm-up, then cosine to `final_lr` x peak."""

    name: Literal["adamw", "sgd"]
    lr: float = Field(gt=0)
    """Peak learning rate for a global batch of `reference_batch` images, scaled linearly."""
    reference_batch: int = Field(gt=0)
    weight_decay: float = Field(ge=0)
    """Applied to weights with two or more dimensions; biases, norms and scales are exempt."""
    betas: tuple[Fraction, Fraction]
    """AdamW's betas; SGD takes the first as its momentum."""
    warmup: float = Field(ge=0, lt=1)
    """Fraction of training over which lr rises from 0 to its peak."""
    final_lr: Fraction
    """Last learning rate as a fraction of the peak."""
    clip_norm: float = Field(ge=0)
    """Largest global gradient norm; 0 switches clipping off."""


class TrialConfig(Config):
    """Everything that decides the weights; anybody can run it alone."""

    data: DataConfig
    model: ModelConfig
    threat: ThreatModel
    attack: AttackConfig
    eps_schedule: EpsScheduleConfig
    augment: AugmentConfig
    optim: OptimConfig
    label_smoothing: float = Field(ge=0, lt=1)
    ema_horizon: Fraction
    """Averaging horizon 1 / (1 - decay) as a fraction of all steps; 0 switches the EMA off. With
    it on, the averaged weights are the ones that are scored."""
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    """Global batch, over all workers."""
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _batch_fits_the_data(self) -> "TrialConfig":
        if self.batch_size > self.data.train_images:
            raise ValueError(
                f"batch_size ({self.batch_size}) must not exceed data.train_images "
                f"({self.data.train_images})"
            )
        if self.batch_size % 2 and (self.augment.mixup or self.augment.cutmix):
            raise ValueError(
                f"batch_size ({self.batch_size}) must be even with augment.mixup or augment.cutmix"
            )
        return self


def config_hash(config: Config) -> str:
    """Returns 12 hex digits of the SHA-256 of the config's canonical JSON."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def local_batch(config: TrialConfig, world_size: int) -> int:
    """Returns the images of each batch that one rank sees.

    Raises:
        ValueError: If the batch cannot be shared evenly, or MixUp or CutMix would see an odd share.
    """
    local, rest = divmod(config.batch_size, world_size)
    if rest:
        raise ValueError(
            f"batch_size ({config.batch_size}) must be divisible by the {world_size} workers"
        )
    if local % 2 and (config.augment.mixup or config.augment.cutmix):
        raise ValueError(
            f"each of the {world_size} workers gets {local} images of a batch; augment.mixup and "
            "augment.cutmix need an even number"
        )
    return local
