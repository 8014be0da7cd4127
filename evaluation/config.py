"""Settings of the early check, of its races and of full evaluations. Light: no torch."""

from typing import Literal

from pydantic import Field, model_validator

from evaluation.engine.stages import EvaluationAttack
from models.config import Config
from trainers.threat import ThreatModel


class EarlyCheckConfig(Config):
    """APGD-CE, then targeted APGD-DLR on what survives, on a fixed list of the select split."""

    images: int = Field(gt=0)
    """The first so many images of the select split; classes are balanced."""
    ce_steps: int = Field(ge=1)
    t_steps: int = Field(ge=1)
    """Steps against each target class."""
    targets: int = Field(ge=1)
    """Target classes per image: the most likely wrong ones."""
    batch_size: int = Field(ge=1)
    seed: int = Field(ge=0)
    """With the image's index it seeds the image's own random start."""
    unseen: tuple[ThreatModel, ...] = ()
    """Threats beside the trial's, which training does not know: each costs another check."""


class RaceConfig(Config):
    """When a check ends before its last image: once more of them would hardly change a decision."""

    first_block: int = Field(ge=1)
    """Images before the first look, which double from look to look. A check of no more images than
    this never ends early."""
    alpha: float = Field(gt=0, lt=1)
    """Bound on the chance that a check ends although all of its images would reach the cutoff."""


class ReferenceConfig(Config):
    """The reference AutoAttack (Croce and Hein 2020, arXiv:2003.01690) from `pyautoattack`."""

    version: Literal["standard", "plus", "rand", "custom"]
    """Of the package; `rand` is for models that answer at random."""
    attacks: tuple[EvaluationAttack, ...] = ()
    """Of version custom, in order."""
    images: int = Field(gt=0)
    """The first so many of the images."""
    batch_size: int = Field(ge=1)
    """Images attacked together; also what is lost when an evaluation is killed."""
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _attacks_are_the_versions(self) -> "ReferenceConfig":
        _check_attacks(self.version, self.attacks)
        return self


class EvaluationConfig(Config):
    """An evaluation by our own engine, whose outcome it decides to the last image."""

    protocol: str
    """A name of `evaluation.protocols`: threat model and images."""
    images: int = Field(gt=0)
    """The first so many of the protocol's images."""
    resolution: int = Field(ge=16)
    """Side of the images in pixels; position embeddings are interpolated to it."""
    version: Literal["standard", "plus", "rand", "custom"]
    """AutoAttack's. `rand` is for models that answer at random: gradients of 20 passes. `plus` has
    untargeted FAB, which only the package runs."""
    attacks: tuple[EvaluationAttack, ...] = ()
    """Of version custom, in order."""
    batch_size: int = Field(ge=1)
    """Images that are attacked together, by each shard; on a CPU no outcome depends on it."""
    precision: Literal["fp32", "bf16"]
    """Of the search. Whatever it is, float32 decides about clean images and about successes; bf16
    may miss what float32 would find, so it errs towards robustness."""
    compile: bool
    """Whether torch compiles the model for the search."""
    seed: int = Field(ge=0)
    """With the image's place and the run it seeds each run's random numbers."""

    @model_validator(mode="after")
    def _attacks_are_the_versions(self) -> "EvaluationConfig":
        _check_attacks(self.version, self.attacks)
        return self


def _check_attacks(version: str, attacks: tuple[EvaluationAttack, ...]) -> None:
    if (version == "custom") != bool(attacks):
        raise ValueError(
            f"attacks are for version=custom and only for it, got version={version} and "
            f"{len(attacks)} attack(s); set both, or leave both out"
        )
