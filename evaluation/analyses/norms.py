"""Accuracy in norms and radii that training did not see."""

from collections.abc import Callable

import torch

from evaluation.analyses.batches import batches, count_right, is_right
from evaluation.analyses.config import NormsConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from evaluation.analyses.strong import robust_flags, strong_name
from models.config import Config
from trainers.metrics import Accuracy
from trainers.threat import ThreatModel


class NormRow(Config):
    """The accuracy in one threat model."""

    threat: ThreatModel
    robust: Accuracy


class NormsFindings(Config):
    """A row for each threat model."""

    clean: Accuracy
    rows: tuple[NormRow, ...]
    union: Accuracy
    """An image counts if it stands in every threat model (Tramer and Boneh 2019,
    arXiv:1904.13000)."""


class NormsResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: NormsConfig
    findings: NormsFindings


def run(
    subject: Subject, config: NormsConfig, *, report: Callable[[str], None]
) -> Outcome[NormsFindings]:
    """Attacks all images in each threat model.

    Returns:
        Arrays `is_clean_correct` (n,) and `is_robust` (threats, n).
    """
    attack = strong_name(config.strong, config)
    parts = batches(subject.images, batch_size=config.batch_size, device=subject.device)
    is_clean_correct = torch.cat([is_right(subject.model, part.x, part.y) for part in parts])
    rows = list[NormRow]()
    flags = list[torch.Tensor]()
    for threat in config.threats:
        found = robust_flags(
            subject.model, subject.images, threat, config.strong, config, device=subject.device
        )
        rows.append(NormRow(threat=threat, robust=count_right(attack, found)))
        flags.append(found)
        report(f"{threat.norm} eps={threat.eps:g}: {int(found.sum())} of {len(found)} images stand")
    is_robust = torch.stack(flags)  # (threats, n)
    return Outcome(
        findings=NormsFindings(
            clean=count_right("clean", is_clean_correct),
            rows=tuple(rows),
            union=count_right(attack, is_robust.all(dim=0)),
        ),
        arrays={"is_clean_correct": is_clean_correct.numpy(), "is_robust": is_robust.numpy()},
    )
