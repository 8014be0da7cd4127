"""How close PGD of few steps comes to PGD of many: a wide gap means that few steps are blind.

The gap of PGD-1 grows long before accuracies show that a training has overfitted to its own attack
(Debenedetti et al. 2023, arXiv:2209.07399).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from evaluation.analyses.batches import batches, count_right, logits_of, pgd_batch
from evaluation.analyses.config import EffectivenessConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from evaluation.paired import Z95
from models.config import Config
from trainers.attacks.losses import cross_entropy
from trainers.metrics import Accuracy


class Effectiveness(Config):
    """PGD of `steps` steps on one model."""

    steps: int
    loss: float
    """Mean cross-entropy of its adversarial images, in nats."""
    gap: float
    """100 x |L(oracle) - L(k)| / L(oracle), in percent of the oracle's loss."""
    gap_low: float = Field(ge=0)
    gap_high: float
    """95 % interval over the choice of images: delta method, paired."""
    robust: Accuracy


class ModelEffectiveness(Config):
    """The curve of one model."""

    model: str
    oracle_loss: float = Field(gt=0)
    """Mean cross-entropy under the oracle, in nats."""
    oracle: Accuracy
    curve: tuple[Effectiveness, ...]


class EffectivenessFindings(Config):
    """A curve for each checkpoint."""

    models: tuple[ModelEffectiveness, ...]


class EffectivenessResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: EffectivenessConfig
    findings: EffectivenessFindings


def run(
    subject: Subject, config: EffectivenessConfig, *, report: Callable[[str], None]
) -> Outcome[EffectivenessFindings]:
    """Attacks every model with PGD of each number of steps and with the oracle.

    Returns:
        Array `loss` (models, steps + 1, n), the oracle's last.

    Raises:
        ValueError: If the oracle's loss is 0, which no gap can be a share of.
    """
    counts = (*config.steps, config.oracle_steps)
    models, losses = list[ModelEffectiveness](), list[Tensor]()
    for name, model in subject.models.items():
        measured = list[tuple[Tensor, Accuracy]]()
        for steps in counts:
            measured.append(_attack(model, subject, config, steps=steps))
            report(f"{name}: pgd{steps} reaches a loss of {float(measured[-1][0].mean()):.4g}")
        models.append(_curve(name, config, measured))
        losses.append(torch.stack([loss for loss, _ in measured]))
    return Outcome(
        findings=EffectivenessFindings(models=tuple(models)),
        arrays={"loss": torch.stack(losses).numpy()},
    )


def relative_gap(
    losses: Float[Tensor, " n"], oracle: Float[Tensor, " n"]
) -> tuple[float, float, float]:
    """Returns 100 x |1 - mean(losses) / mean(oracle)| and its 95 % interval, at least 0.

    Source: the gap: Debenedetti et al. 2023, arXiv:2209.07399, eq. 2; the interval: delta method
    for a ratio of paired means, zero width for a single image.
    """
    ratio = float(losses.mean() / oracle.mean())
    gap = 100 * abs(1 - ratio)
    if len(losses) == 1:
        return gap, gap, gap
    residual = (losses - ratio * oracle).std()
    margin = 100 * Z95 * float(residual / oracle.mean()) / math.sqrt(len(losses))
    return gap, max(0.0, gap - margin), gap + margin


def _attack(
    model: nn.Module, subject: Subject, config: EffectivenessConfig, *, steps: int
) -> tuple[Tensor, Accuracy]:
    """Returns the loss of each image in float64, and the accuracy."""
    losses, flags = list[Tensor](), list[Tensor]()
    for part in batches(subject.images, batch_size=config.batch_size, device=subject.device):
        x_adv = pgd_batch(
            model, part, config.threat, steps=steps, reach=config.reach, seed=config.seed
        )
        logits = logits_of(model, x_adv)
        losses.append(cross_entropy(logits, part.y).double().cpu())
        flags.append((logits.argmax(dim=1) == part.y).cpu())
    return torch.cat(losses), count_right(f"pgd{steps}", torch.cat(flags))


def _curve(
    name: str, config: EffectivenessConfig, measured: list[tuple[Tensor, Accuracy]]
) -> ModelEffectiveness:
    *few, (oracle, accuracy) = measured
    if float(oracle.mean()) <= 0:
        raise ValueError(
            f"the loss under pgd{config.oracle_steps} must be above 0, got 0 for {name}: float32 "
            "cannot tell its logits from certainty; take a larger threat.eps"
        )
    curve: list[Effectiveness] = []
    for steps, (loss, robust) in zip(config.steps, few, strict=True):
        gap, low, high = relative_gap(loss, oracle)
        curve.append(
            Effectiveness(
                steps=steps,
                loss=float(loss.mean()),
                gap=gap,
                gap_low=low,
                gap_high=high,
                robust=robust,
            )
        )
    return ModelEffectiveness(
        model=name, oracle_loss=float(oracle.mean()), oracle=accuracy, curve=tuple(curve)
    )
