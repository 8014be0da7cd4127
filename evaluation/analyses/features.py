"""What the model takes for each class: noise, moved towards the class by a targeted attack."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from evaluation.analyses.batches import logits_of
from evaluation.analyses.config import FeaturesConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from evaluation.engine.engine import item_seed
from models.config import Config, Fraction
from trainers.attacks.losses import cross_entropy
from trainers.attacks.pgd import pgd


class Feature(Config):
    """The image of one class."""

    target: int = Field(ge=0)
    prediction: int = Field(ge=0)
    probability: Fraction
    """That the model gives to the target."""
    noise_probability: Fraction
    """That it gave to it at the start."""


class FeaturesFindings(Config):
    """An image for each class."""

    features: tuple[Feature, ...]

    @property
    def reached(self) -> int:
        """Images that the model takes for their target."""
        return sum(feature.prediction == feature.target for feature in self.features)


class FeaturesResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: FeaturesConfig
    findings: FeaturesFindings


def run(
    subject: Subject, config: FeaturesConfig, *, report: Callable[[str], None]
) -> Outcome[FeaturesFindings]:
    """Runs targeted PGD from uniform noise towards each class.

    Returns:
        Arrays `classes` (n,), `noise` and `image` (n, 3, h, w) on [0, 1].

    Raises:
        ValueError: If the model lacks a class.
    """
    shape = subject.images.images.shape[1:]
    noises, images, features = list[Tensor](), list[Tensor](), list[Feature]()
    for targets in torch.tensor(config.classes).split(config.batch_size):
        noise = uniform_noise(shape, targets, seed=config.seed).to(subject.device)
        image = _towards(subject, config, noise, targets.to(subject.device))
        features += _measure(subject, noise, image, targets)
        noises.append(noise.cpu())
        images.append(image.cpu())
        report(f"made {len(features)} of {len(config.classes)} images")
    return Outcome(
        findings=FeaturesFindings(features=tuple(features)),
        arrays={
            "classes": torch.tensor(config.classes).numpy(),
            "noise": torch.cat(noises).numpy(),
            "image": torch.cat(images).numpy(),
        },
    )


def uniform_noise(
    shape: torch.Size, targets: Int64[Tensor, " n"], *, seed: int
) -> Float[Tensor, "n 3 h w"]:
    """Returns noise on [0, 1] for each class, drawn on the CPU from a seed of its own."""
    generators = [
        torch.Generator().manual_seed(item_seed(seed, image=target, stage=0))
        for target in targets.tolist()
    ]
    return torch.stack([torch.rand(shape, generator=generator) for generator in generators])


def _towards(subject: Subject, config: FeaturesConfig, noise: Tensor, targets: Tensor) -> Tensor:
    classes = logits_of(subject.model, noise[:1]).shape[1]
    if int(targets.max()) >= classes:
        raise ValueError(
            f"classes must be numbers below {classes}, which is how many the model has, got "
            f"{int(targets.max())}"
        )
    return pgd(
        subject.model,
        noise,
        config.threat,
        steps=config.steps,
        step_size=config.reach * config.threat.eps / config.steps,
        loss=lambda logits: -cross_entropy(logits, targets),
        start=noise,
    )


def _measure(subject: Subject, noise: Tensor, image: Tensor, targets: Tensor) -> list[Feature]:
    before, after = (
        logits_of(subject.model, x).softmax(dim=1).clamp(0, 1).cpu() for x in (noise, image)
    )
    return [
        Feature(
            target=target,
            prediction=int(said.argmax()),
            probability=float(said[target]),
            noise_probability=float(noisy[target]),
        )
        for target, said, noisy in zip(targets.tolist(), after, before, strict=True)
    ]
