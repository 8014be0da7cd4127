"""Input gradients and perturbations of some images, to be looked at."""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from evaluation.analyses.batches import batches, count_right, logits_of, pgd_batch
from evaluation.analyses.config import GradientsConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from models.config import Config, Fraction
from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import cross_entropy
from trainers.attacks.mode import attack_mode
from trainers.metrics import Accuracy


class GradientsFindings(Config):
    """What the pictures do not show: their scale."""

    clean: Accuracy
    robust: Accuracy
    l2_norm: float = Field(ge=0)
    """Mean over the images of the Euclidean length of their input gradient."""
    zeros: Fraction
    """Share of gradient entries that are exactly 0."""


class GradientsResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: GradientsConfig
    findings: GradientsFindings


def run(
    subject: Subject, config: GradientsConfig, *, report: Callable[[str], None]
) -> Outcome[GradientsFindings]:
    """Takes the gradient of the cross-entropy at each clean image, and attacks it.

    Returns:
        Arrays `clean`, `gradient`, `adversarial` (n, 3, h, w), `labels`, `clean_prediction`,
        `adversarial_prediction` (n,).
    """
    model, found = subject.model, list[tuple[Tensor, ...]]()
    for part in batches(subject.images, batch_size=config.batch_size, device=subject.device):
        y = part.y
        with attack_mode(model):
            gradient = input_gradient(model, part.x, lambda logits, y=y: cross_entropy(logits, y))
        x_adv = pgd_batch(
            model, part, config.threat, steps=config.steps, reach=config.reach, seed=config.seed
        )
        said = [logits_of(model, x).argmax(dim=1) for x in (part.x, x_adv)]
        found.append((part.x, gradient, x_adv, *said))
        report(f"attacked {int(part.index[-1]) + 1} of {len(subject.images)} images")
    clean, gradient, adversarial, before, after = (
        torch.cat(tensors).cpu() for tensors in zip(*found, strict=True)
    )
    labels = subject.images.labels
    return Outcome(
        findings=GradientsFindings(
            clean=count_right("clean", before == labels),
            robust=count_right(f"pgd{config.steps}", after == labels),
            l2_norm=float(gradient.flatten(1).norm(dim=1).mean()),
            zeros=float((gradient == 0).double().mean()),
        ),
        arrays={
            "clean": clean.numpy(),
            "gradient": gradient.numpy(),
            "adversarial": adversarial.numpy(),
            "labels": labels.numpy(),
            "clean_prediction": before.numpy(),
            "adversarial_prediction": after.numpy(),
        },
    )
