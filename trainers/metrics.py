"""What a trial reports: plain numbers that survive JSON. Light: no torch.

An accuracy never travels without its attack and n; its interval follows from them.
"""

import math
from collections.abc import Sequence

from pydantic import Field, model_validator

from models.config import Config, Fraction

PROGRESS = "progress"
"""Key of a worker's report: a `Progress` as JSON text, with the whole history."""
NODE = "node"
"""Key of a worker's report: Ray's id of the node that rank 0 runs on."""


class Accuracy(Config):
    """A count of images that a model got right under an attack ("clean" for none)."""

    attack: str
    n: int = Field(gt=0)
    correct: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_a_proportion(self) -> "Accuracy":
        if self.correct > self.n:
            raise ValueError(f"correct ({self.correct}) must not exceed n ({self.n})")
        return self

    @property
    def value(self) -> float:
        """The accuracy as a fraction in [0, 1]."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % score interval (Wilson 1927)."""
        return wilson_interval(self.correct, self.n)


def wilson_interval(correct: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Returns the score interval of a proportion (Newcombe 1998, Stat. Med. 17:857, method 3)."""
    p = correct / n
    centre = p + z * z / (2 * n)
    margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale))


class Probe(Config):
    """What weak attacks do to a model, for its diagnosis: they rank no trial."""

    pgd1: Accuracy
    pgd10: Accuracy
    loss_gain: float
    """Mean cross-entropy that PGD-1 adds, in nats."""
    zero_gradients: Fraction
    """Share of zeros in the gradient that PGD-1 follows."""
    delta_over_eps: float = Field(ge=0)
    """Mean size of its perturbation over eps: |delta| of a pixel for linf, else the norm of an
    image's."""


class Check(Config):
    """An early check of a model on the select split; `robust` counts images no attack broke."""

    clean: Accuracy
    robust: Accuracy
    probe: Probe | None = None
    """Of the same images; None where it was not made, as in records of earlier versions."""
    unseen: tuple[Accuracy, ...] = ()
    """Of the same images under the threats that training does not know
    (`EarlyCheckConfig.unseen`)."""
    missed: Fraction | None = None
    """Robust accuracy that was surely out of reach when the check ended before its last image; None
    where it saw them all."""
    seconds: float = Field(ge=0)
    """With the probe."""


class EpochMetrics(Config):
    """One epoch of training, and the early check when the epoch is a rung."""

    epoch: int = Field(ge=1)
    """Epochs finished, counted from 1 over all sessions of the trial."""
    train_loss: float
    train_accuracy: float = Field(ge=0, le=1)
    """On the images trained on, attacked as the recipe says; a sign of progress, no objective."""
    lr: float
    eps: float
    seconds: float = Field(ge=0)
    """Wall time of the epoch without its check."""
    check: Check | None
    """Of the scored weights: the averaged ones where the EMA is on."""
    raw_check: Check | None
    """Of the raw weights beside the averaged ones; None where the EMA is off, and where `check`
    ended before its last image."""

    @property
    def check_seconds(self) -> float:
        """Seconds of its checks."""
        checks = (self.check, self.raw_check)
        return sum((check.seconds for check in checks if check is not None), 0.0)


def best_epoch(history: Sequence[EpochMetrics]) -> int | None:
    """Returns the first epoch with the highest robust accuracy; None if none was checked."""
    values = {epoch.epoch: epoch.check.robust.value for epoch in history if epoch.check is not None}
    return max(values, key=lambda epoch: values[epoch], default=None)


class Progress(Config):
    """All that is known of a trial; each report carries the whole, so none can be lost."""

    params_m: float
    gmacs: float
    """Forward multiply-adds of one image, in 10^9."""
    start: str
    """The weights that training began with, and how they fitted."""
    images: str
    """Hash of the train images; their manifests bear it in their names."""
    clean_seconds: float = Field(ge=0)
    """Of a clean training before the trial, by this trial itself."""
    first_step_at: float
    """Unix time of the end of the first training step."""
    events: tuple[str, ...]
    """What befell the training: a damaged checkpoint, a roll-back, another number of workers."""
    history: tuple[EpochMetrics, ...]

    @property
    def train_seconds(self) -> float:
        """Of training, clean and attacked, without checks."""
        return self.clean_seconds + sum(epoch.seconds for epoch in self.history)
