"""One trial, completely: data, model, threat, attack, schedules, augmentation, optimiser.

Schedules are fractions of training and the learning rate is stated for a reference batch, so that
a recipe means the same at every fidelity and on every number of workers. Light: no torch.
"""

import hashlib
import json
from typing import Literal

from pydantic import Field, model_validator

from models.config import Config, Fraction, ModelConfig
from trainers.attacks.config import AttackConfig
from trainers.data.config import DataConfig
from trainers.threat import ThreatModel
from trainers.weights_config import Freeze, WeightsConfig


class ObjectiveConfig(Config):
    """What training minimises."""

    name: Literal["at", "trades", "mart"]
    """`at`: cross-entropy on the attacked batch. `trades` (Zhang et al. 2019, arXiv:1901.08573)
    and `mart` (Wang et al. 2020, OpenReview rklOg6EFwS) also see the clean one."""
    beta: float = Field(ge=0)
    """Weight of the second term of `trades` (6 in the paper) and `mart` (5; 6 for WideResNets)."""


class ScheduleConfig(Config):
    """How a value comes to its final one, from `start` times it, step by step without a jump."""

    shape: Literal["constant", "linear", "cosine", "step"]
    """Of the rise. `cosine` is half a wave, also called sine; `step` jumps after `delay`."""
    start: Fraction
    """Share of the final value before the rise."""
    delay: Fraction
    """Fraction of training before the rise."""
    ramp: Fraction
    """Fraction of training that the rise takes; one that ends with training ends after the last
    step, which is one step short of the final value."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "ScheduleConfig":
        if self.shape == "constant" and (self.start != 1 or self.delay or self.ramp):
            raise ValueError(
                "shape=constant needs start=1, delay=0 and ramp=0; linear with delay=0 and ramp=0 "
                "is the same"
            )
        if self.shape == "step" and self.ramp:
            raise ValueError(f"shape=step needs ramp=0, got ramp={self.ramp:g}; delay says when")
        if self.delay + self.ramp > 1:
            raise ValueError(
                f"delay ({self.delay:g}) + ramp ({self.ramp:g}) must not exceed 1, "
                "or the final value is never reached"
            )
        return self


class AugmentConfig(Config):
    """Augmentations in the order in which they are applied; 0 switches one off."""

    crop_scale: float = Field(gt=0, le=1)
    """Least area of RandomResizedCrop as a fraction of the image; 1 switches it off."""
    pad_crop: float = Field(ge=0, lt=1)
    """Zero padding of a random crop at full size, as a fraction of the side; 4 / 32 for CIFAR."""
    flip: Fraction
    """Probability of a horizontal flip."""
    color_jitter: float = Field(ge=0, lt=1)
    """Strength of brightness, contrast and saturation jitter; 0.4 in DeiT."""
    rotation: float = Field(ge=0, le=180)
    """Largest angle of a random rotation, in degrees; corners become black."""
    randaugment: float = Field(ge=0, le=10)
    """Magnitude of timm's `rand-mM-mstd0.5-inc1`; 9 in DeiT."""
    erasing: Fraction
    """Probability of RandomErasing, filled inside [0, 1]; 0.25 in DeiT."""
    mixup: float = Field(ge=0)
    """Beta parameter of MixUp; 0.8 in DeiT."""
    cutmix: float = Field(ge=0)
    """Beta parameter of CutMix; 1.0 in DeiT. With MixUp on too, each batch draws one of them."""


class OptimConfig(Config):
    """Optimiser and learning-rate schedule: warm-up, decay, cool-down at the final rate."""

    name: Literal["adamw", "sgd", "lamb"]
    """timm's, with its defaults beyond the fields below."""
    lr: float = Field(gt=0)
    """Peak learning rate for a global batch of `reference_batch` images."""
    reference_batch: int = Field(gt=0)
    """Images, over all workers, that `lr` is stated for."""
    lr_scaling: Literal["linear", "sqrt", "none"]
    """How the peak grows with the batch."""
    weight_decay: float = Field(ge=0)
    """Decoupled from the gradient in AdamW, part of it in SGD, of the update in LAMB. Applied to
    weights with two or more dimensions, save those the architecture exempts (position embeddings,
    class tokens); biases, norms and scales are exempt."""
    betas: tuple[Fraction, Fraction]
    """Betas of AdamW and LAMB; SGD takes the first as its Nesterov momentum."""
    layer_decay: float = Field(gt=0, le=1)
    """Factor on lr from each layer to the one below it (BEiT, arXiv:2106.08254); 1 is off."""
    schedule: Literal["cosine", "linear", "step"]
    """Of the decay from the peak to `final_lr`; `step` multiplies by 0.1 every `step_every`."""
    warmup: float = Field(ge=0, lt=1)
    """Fraction of training over which lr rises from `warmup_lr` to its peak."""
    warmup_lr: Fraction
    """First learning rate as a fraction of the peak."""
    decay_after_warmup: bool
    """Whether the decay begins after the warm-up, or at the start of training and the warm-up
    hides its beginning, as in timm."""
    cooldown: float = Field(ge=0, lt=1)
    """Fraction of training at the end that stays at the last learning rate."""
    final_lr: Fraction
    """Last learning rate as a fraction of the peak; `step` does not go below it."""
    step_every: float = Field(gt=0, le=1)
    """Fraction of training between two drops; `step` only."""
    clip_norm: float = Field(ge=0)
    """Largest global gradient norm; 0 switches clipping off."""

    @model_validator(mode="after")
    def _decay_has_room(self) -> "OptimConfig":
        if self.schedule == "step" and self.cooldown:
            raise ValueError(
                f"optim.schedule=step has no cool-down, got cooldown={self.cooldown:g}; set it to 0"
            )
        if self.warmup + self.cooldown >= 1:
            raise ValueError(
                f"optim.warmup ({self.warmup:g}) + optim.cooldown ({self.cooldown:g}) must be "
                "less than 1"
            )
        return self


class ComputeConfig(Config):
    """How the arithmetic is done: speed and memory, not the recipe."""

    precision: Literal["fp32", "bf16"]
    """`bf16`: autocast of the network; images, perturbations, logits, losses and weights stay in
    fp32."""
    channels_last: bool
    """Memory format of model and images; faster for convolutions. Random starts differ, for they
    are drawn in the order of memory."""
    compile: bool
    """torch.compile of the attack as one graph, and of the training pass; minutes at the start."""
    accumulation: int = Field(ge=1)
    """Parts that each worker's share of a batch is worked off in; memory falls, the result stays,
    but for batch norm and the random numbers of drop-path. Where workers are lost, the others take
    more parts."""
    checkpointing: bool
    """Recomputes activations in the training pass: less memory, a third more time there. Batch
    norm then counts each batch twice in its running statistics."""
    sync_bn: bool
    """Batch statistics over all workers; GPU only."""
    loaders: int = Field(ge=0)
    """Processes of each worker that read and crop stored images ahead of training; 0 does it in
    the training process. What they deliver does not depend on their number."""


class TrialConfig(Config):
    """Everything that decides the weights; anybody can run it alone."""

    data: DataConfig
    model: ModelConfig
    weights: WeightsConfig
    """What training starts from."""
    freeze: Freeze
    """What it leaves as it is."""
    threat: ThreatModel
    attack: AttackConfig
    objective: ObjectiveConfig
    eps_schedule: ScheduleConfig
    """Of eps, up to `threat.eps`."""
    steps_schedule: ScheduleConfig
    """Of the attack's steps, up to `attack.steps`, rounded, at least 1."""
    resolution_schedule: ScheduleConfig
    """Of the side of training images, up to `data.resolution`, rounded to a multiple of 4 (of 32
    from 128 pixels on)."""
    augment: AugmentConfig
    optim: OptimConfig
    label_smoothing: float = Field(ge=0, lt=1)
    """Share of each target that is spread evenly over all classes."""
    ema_horizon: Fraction
    """Averaging horizon 1 / (1 - decay) as a fraction of all steps; 0 switches the EMA off. With
    it on, the averaged weights are the ones that are scored."""
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    """Global batch, over all workers."""
    non_finite: Literal["stop", "roll_back"]
    """What follows a loss that is not finite: the end, or once a return to the last checkpoint, or
    the beginning, with half the learning rate from there on. In a clean training, the end."""
    compute: ComputeConfig
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _batch_fits_the_data(self) -> "TrialConfig":
        images = self.data.train_images
        if images != "all" and self.batch_size > images:
            raise ValueError(
                f"batch_size ({self.batch_size}) must not exceed data.train_images "
                f"({self.data.train_images})"
            )
        share = self.data.extra_share
        extra = round(share * self.batch_size)
        if share and not 0 < extra < self.batch_size:
            raise ValueError(
                f"data.extra.share ({share:g}) of batch_size ({self.batch_size}) is {extra} "
                "images, and must leave some of each source; change the share, or raise the batch"
            )
        if self.batch_size % 2 and (self.augment.mixup or self.augment.cutmix):
            raise ValueError(
                f"batch_size ({self.batch_size}) must be even with augment.mixup or augment.cutmix"
            )
        return self

    @model_validator(mode="after")
    def _objective_fits_the_attack(self) -> "TrialConfig":
        if self.objective.name != "at" and self.attack.fraction < 1:
            raise ValueError(
                f"objective {self.objective.name} weighs clean against attacked images itself; "
                f"it needs attack.fraction=1, got {self.attack.fraction:g}"
            )
        mixes = self.augment.mixup or self.augment.cutmix
        if self.objective.name == "mart" and (mixes or self.label_smoothing):
            raise ValueError(
                "objective mart is defined for hard labels; set augment.mixup, augment.cutmix and "
                "label_smoothing to 0"
            )
        return self


class CheckpointsConfig(Config):
    """When training is saved, and how much of it stays: where it can go on, not the weights."""

    minutes: float = Field(gt=0)
    """Between two checkpoints within an epoch; each epoch ends with one, too."""
    keep: int = Field(ge=1)
    """Latest checkpoints that stay while training goes on, beside the latest end of an epoch and
    the best one; a damaged one falls back on the one before. At the end, the last and the best."""


def config_hash(config: Config) -> str:
    """Returns 12 hex digits of the SHA-256 of the config's canonical JSON."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def shares(config: TrialConfig, workers: int) -> tuple[int, ...]:
    """Returns the images of each batch that each worker gets: as equal as can be.

    Pairs that MixUp or CutMix mixes stay together.

    Raises:
        ValueError: If one gets too few.
    """
    unit = 2 if config.augment.mixup or config.augment.cutmix else 1
    each, rest = divmod(config.batch_size // unit, workers)
    least = unit * each
    if not least:
        raise ValueError(
            f"batch_size ({config.batch_size}) must give each of the {workers} workers "
            f"{'a pair of images' if unit == 2 else 'an image'}; raise it, or take fewer workers"
        )
    if config.attack.fraction > 0 and not round(config.attack.fraction * least):
        raise ValueError(
            f"attack.fraction ({config.attack.fraction:g}) of the {least} images that a worker "
            "gets of a batch is none; set it to 0, or take a larger batch"
        )
    if least < config.compute.accumulation:
        raise ValueError(
            f"a worker gets {least} images of a batch, fewer than the compute.accumulation "
            f"({config.compute.accumulation}) parts to work them off in; lower it"
        )
    return tuple(unit * (each + (rank < rest)) for rank in range(workers))
