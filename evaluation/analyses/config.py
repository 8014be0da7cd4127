"""Settings of the analyses. Light: no torch. Defaults for a trained model are in `defaults.py`."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from models.config import Config
from trainers.threat import ThreatModel, parse_fraction

KINDS = {
    "eps_curve": "accuracy under the strong attack against eps",
    "effectiveness": "how close PGD of few steps comes to PGD of many",
    "convergence": "the loss of single images under PGD, step by step, from many random starts",
    "transfer": "accuracy of each of several models on the adversarial images of the others",
    "norms": "accuracy under the strong attack in norms that training did not see",
    "semantics": "what other classifiers see in the perturbation alone",
    "gradients": "pictures of input gradients and perturbations",
    "features": "pictures that the model takes for each class, made from noise",
    "masking": "signs that gradients mislead attacks, so that robustness only seems to be there",
}
"""What `rampart analyse` knows, and what each shows."""


def listed(value: object) -> object:
    """Makes a list of a single value or of text such as "2/255,4/255"."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return [value] if isinstance(value, int | float) else value


Eps = Annotated[float, BeforeValidator(parse_fraction), Field(gt=0)]
EpsList = Annotated[tuple[Eps, ...], BeforeValidator(listed), Field(min_length=1)]
StepsList = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(listed), Field(min_length=1)
]
Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]


class ImagesConfig(Config):
    """Which images an analysis is about, and what decides its random numbers."""

    split: Literal["select", "test"]
    """`select` leaves the test split unread, for analyses on which choices will rest."""
    images: int = Field(gt=0)
    """The first so many of the split; classes are balanced."""
    batch_size: int = Field(ge=1)
    """Images attacked together; it changes no result."""
    seed: int = Field(ge=0)
    """With the image's index it seeds the image's own random starts."""


class StrongAttack(Config):
    """The attack behind accuracies: APGD-CE, then targeted APGD-DLR on what survives."""

    ce_steps: int = Field(ge=1)
    t_steps: int = Field(ge=1)
    """Steps against each target class."""
    targets: int = Field(ge=1)
    """Target classes per image: the most likely wrong ones."""


class EpsCurveConfig(ImagesConfig):
    """Accuracy under the strong attack for one eps after the other, until no image stands."""

    norm: Literal["linf", "l2", "l1"]
    eps: EpsList
    """Rising; "4/255" is accepted. What comes after the first eps without a survivor is left
    out."""
    strong: StrongAttack

    @model_validator(mode="after")
    def _eps_rise(self) -> "EpsCurveConfig":
        _check_rises("eps", self.eps)
        self.threats  # noqa: B018  # each eps must be one of its norm
        return self

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """The ball of each eps."""
        return tuple(ThreatModel(norm=self.norm, eps=eps) for eps in self.eps)


class EffectivenessConfig(ImagesConfig):
    """Relative gap between the loss that PGD-k reaches and that of an oracle of many steps."""

    threat: ThreatModel
    steps: StepsList
    """1, 2, 5 and 10 in Debenedetti et al. 2023, arXiv:2209.07399."""
    oracle_steps: int = Field(ge=1)
    """200 there."""
    reach: float = Field(gt=0)
    """Length of all steps together in units of eps: a step is reach x eps / steps. At 2 or more
    PGD can cross the ball; 2.5 in the code of Madry et al. 2018, arXiv:1706.06083."""

    @model_validator(mode="after")
    def _oracle_is_the_longest(self) -> "EffectivenessConfig":
        _check_rises("steps", self.steps)
        if self.steps[-1] > self.oracle_steps:
            raise ValueError(
                f"oracle_steps ({self.oracle_steps}) must be at least the largest of steps "
                f"({self.steps[-1]})"
            )
        return self


class ConvergenceConfig(ImagesConfig):
    """Cross-entropy of single images along PGD, from several random starts."""

    threat: ThreatModel
    points: int = Field(ge=1)
    """The first so many of `images` that are right without attack; 32 in Debenedetti et al."""
    starts: int = Field(ge=1)
    """Random starts of each point; 20 there."""
    steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(listed)] = Field(
        min_length=1
    )
    """Rising numbers of steps after which the loss is noted; 0 is the start. 0, 1, 2, 5, 10, 50,
    100, 200, 500 there."""
    step: float = Field(gt=0)
    """Length of one step in units of eps, whatever the number of steps. 0.15 in the code of
    Debenedetti et al.; their text says that it shrinks with the number of steps."""

    @model_validator(mode="after")
    def _steps_rise(self) -> "ConvergenceConfig":
        _check_rises("steps", self.steps)
        return self


class TransferConfig(ImagesConfig):
    """Accuracy of several models on each other's adversarial images."""

    model_config = ConfigDict(serialize_by_alias=True)

    threat: ThreatModel
    """For every model, whatever it was trained against."""
    steps: int = Field(ge=1)
    """Of APGD on cross-entropy from one random start; its best iterate is the image, for the
    highest loss carries over best."""
    others: Texts = Field(alias="with")
    """Checkpoints, or folders that hold some, of models with the same classes and image size."""


class NormsConfig(ImagesConfig):
    """Accuracy under the strong attack in several threat models, and in all of them together."""

    threats: tuple[ThreatModel, ...] = Field(min_length=1)
    strong: StrongAttack

    @model_validator(mode="after")
    def _threats_differ(self) -> "NormsConfig":
        if len(set(self.threats)) < len(self.threats):
            raise ValueError("threats must differ from each other; leave the second one out")
        return self


class SemanticsConfig(ImagesConfig):
    """Accuracy of other classifiers on perturbations that are rendered as images."""

    threat: ThreatModel
    steps: int = Field(ge=1)
    """Of PGD from a random start; 100 in Debenedetti et al."""
    reach: float = Field(gt=0)
    """Length of all steps together in units of eps; 1.5 there, a step of 0.015 eps."""
    judges: Texts
    """Each is a checkpoint of ours, or NAME:FILE of a model of timm and its weights; their classes
    must be those of the model, in the same order. Judges of another size see resized images."""

    @model_validator(mode="after")
    def _perturbation_has_a_picture(self) -> "SemanticsConfig":
        if self.threat.norm != "linf":
            raise ValueError(
                f"threat.norm must be linf, where eps bounds each pixel, got {self.threat.norm}; "
                "set threat.norm=linf threat.eps=4/255"
            )
        return self


class GradientsConfig(ImagesConfig):
    """Input gradients of the cross-entropy, and the perturbations of PGD."""

    threat: ThreatModel
    steps: int = Field(ge=1)
    reach: float = Field(gt=0)
    """Length of all steps together in units of eps."""


class FeaturesConfig(Config):
    """Images made from uniform noise by PGD towards each class."""

    classes: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(listed)] = Field(
        min_length=1
    )
    """Numbers of the classes that are aimed at."""
    threat: ThreatModel
    """Around the noise, and large."""
    steps: int = Field(ge=1)
    """100 in Debenedetti et al."""
    reach: float = Field(gt=0)
    """Length of all steps together in units of eps."""
    batch_size: int = Field(ge=1)
    """Images made together; it changes no result."""
    seed: int = Field(ge=0)
    """With the class it seeds its noise."""


def timm_judge(text: str) -> tuple[str, Path] | None:
    """Returns name and file of a judge that is a model of timm; None for a checkpoint of ours."""
    name, colon, file = text.partition(":")
    return (name, Path(file)) if colon and "/" not in name else None


def _check_rises(name: str, values: Sequence[float] | Sequence[int]) -> None:
    if any(a >= b for a, b in pairwise(values)):
        raise ValueError(f"{name} must rise, got {list(values)}; sort them, none twice")
