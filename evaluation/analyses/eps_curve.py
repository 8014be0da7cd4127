"""Accuracy against eps: a sane attack takes it down steadily, and in the end to zero.

Where it does not, the attack fails for want of useful gradients (Athalye et al. 2018,
arXiv:1802.00420), and the accuracy at the eps of interest cannot be trusted either.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Tensor

from evaluation.analyses.batches import batches, count_right, is_right
from evaluation.analyses.config import EpsCurveConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from evaluation.analyses.strong import robust_flags, strong_name
from models.config import Config
from trainers.metrics import Accuracy


class EpsPoint(Config):
    """The accuracy at one eps."""

    eps: float
    robust: Accuracy
    """An image that fell at a smaller eps has fallen: a larger ball holds the smaller one."""
    alone: Accuracy
    """By the attack at this eps alone."""
    missed: int = Field(ge=0)
    """Images that fell at a smaller eps, but not to the attack at this one."""


class EpsCurveFindings(Config):
    """The curve, and whether it is that of a sane attack."""

    clean: Accuracy
    points: tuple[EpsPoint, ...]
    falls_monotonically: bool
    """Whether `alone` never rises from one eps to the next; `robust` cannot."""
    reaches_zero: bool


class EpsCurveResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: EpsCurveConfig
    findings: EpsCurveFindings


def run(
    subject: Subject, config: EpsCurveConfig, *, report: Callable[[str], None]
) -> Outcome[EpsCurveFindings]:
    """Attacks all images at each eps, until none stands.

    Returns:
        Arrays `is_clean_correct` (n,), `eps` (points,), `is_robust` (points, n): by each eps alone.
    """
    parts = batches(subject.images, batch_size=config.batch_size, device=subject.device)
    is_clean_correct = torch.cat([is_right(subject.model, part.x, part.y) for part in parts])
    standing, rows = is_clean_correct, list[Tensor]()
    for threat in config.threats:
        if not bool(standing.any()):
            break
        rows.append(
            robust_flags(
                subject.model, subject.images, threat, config.strong, config, device=subject.device
            )
        )
        standing = standing & rows[-1]
        report(f"eps={threat.eps:g}: {int(standing.sum())} of {len(standing)} images stand")
    eps = config.eps[: len(rows)]
    alone = torch.stack(rows) if rows else torch.zeros(0, len(standing), dtype=torch.bool)
    return Outcome(
        findings=findings_of(strong_name(config.strong, config), eps, is_clean_correct, alone),
        arrays={
            "is_clean_correct": is_clean_correct.numpy(),
            "eps": torch.tensor(eps, dtype=torch.float64).numpy(),
            "is_robust": alone.numpy(),
        },
    )


def findings_of(
    attack: str,
    eps: tuple[float, ...],
    is_clean_correct: Bool[Tensor, " n"],
    alone: Bool[Tensor, "points n"],
) -> EpsCurveFindings:
    """Makes the curve of the flags that each eps found alone."""
    nested = (alone & is_clean_correct).to(torch.int64).cummin(dim=0).values.bool()
    points = tuple(
        EpsPoint(
            eps=e,
            robust=count_right(attack, robust),
            alone=count_right(attack, flags),
            missed=int((flags & ~robust).sum()),
        )
        for e, robust, flags in zip(eps, nested, alone, strict=True)
    )
    clean = count_right("clean", is_clean_correct)
    accuracies = [clean, *(point.alone for point in points)]
    return EpsCurveFindings(
        clean=clean,
        points=points,
        falls_monotonically=all(a.correct >= b.correct for a, b in pairwise(accuracies)),
        reaches_zero=(points[-1].robust if points else clean).correct == 0,
    )
