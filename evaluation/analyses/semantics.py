"""What other classifiers see in a perturbation alone: the more robust the model, the more.

The judges look at ((x - x_adv) + eps) / (2 eps), the original minus the adversarial image on a grey
ground, and must name the true class (Debenedetti et al. 2023, arXiv:2209.07399).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.analyses.batches import batches, count_right, is_right, pgd_batch
from evaluation.analyses.config import SemanticsConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from models.config import Config
from trainers.metrics import Accuracy

SHOWN = 6
"""Images that are kept for the picture."""


class JudgeScore(Config):
    """What one judge makes of the images."""

    judge: str
    clean: Accuracy
    """Of the images themselves: no judge can see more in their perturbations."""
    perturbation: Accuracy
    """Of the rendered perturbations: the score."""


class SemanticsFindings(Config):
    """A score for each judge."""

    judges: tuple[JudgeScore, ...]


class SemanticsResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: SemanticsConfig
    findings: SemanticsFindings


def run(
    subject: Subject, config: SemanticsConfig, *, report: Callable[[str], None]
) -> Outcome[SemanticsFindings]:
    """Attacks the first model and shows its perturbations to all others.

    Returns:
        Arrays `is_clean_correct` and `is_correct` (judges, n); of the first images `clean`,
        `rendered` (shown, 3, h, w) on [0, 1] and `labels`.

    Raises:
        ValueError: If there is no judge.
    """
    _, *judges = subject.models.items()
    if not judges:
        raise ValueError(
            "semantics needs a classifier that judges, got none; name some in "
            "judges=TIMM_NAME:WEIGHTS_FILE,CHECKPOINT"
        )
    clean, right, shown = list[Tensor](), list[Tensor](), list[Tensor]()
    for part in batches(subject.images, batch_size=config.batch_size, device=subject.device):
        x_adv = pgd_batch(
            subject.model,
            part,
            config.threat,
            steps=config.steps,
            reach=config.reach,
            seed=config.seed,
        )
        rendered = render(part.x, x_adv, eps=config.threat.eps)
        clean.append(torch.stack([is_right(judge, part.x, part.y) for _, judge in judges]))
        right.append(torch.stack([is_right(judge, rendered, part.y) for _, judge in judges]))
        shown.append(rendered[:SHOWN].cpu())
        report(f"judged {int(part.index[-1]) + 1} of {len(subject.images)} perturbations")
    is_clean_correct, is_correct = torch.cat(clean, dim=1), torch.cat(right, dim=1)  # (judges, n)
    first = torch.arange(min(SHOWN, len(subject.images)))
    return Outcome(
        findings=SemanticsFindings(
            judges=tuple(
                JudgeScore(
                    judge=name,
                    clean=count_right("clean", is_clean_correct[row]),
                    perturbation=count_right(f"perturbation of pgd{config.steps}", is_correct[row]),
                )
                for row, (name, _) in enumerate(judges)
            )
        ),
        arrays={
            "is_clean_correct": is_clean_correct.numpy(),
            "is_correct": is_correct.numpy(),
            "clean": subject.images.floats(first).numpy(),
            "rendered": torch.cat(shown)[: len(first)].numpy(),
            "labels": subject.images.labels[first].numpy(),
        },
    )


def render(
    x: Float[Tensor, "batch 3 h w"], x_adv: Float[Tensor, "batch 3 h w"], *, eps: float
) -> Float[Tensor, "batch 3 h w"]:
    """Returns ((x - x_adv) + eps) / (2 eps): grey where nothing changed, cut to [0, 1]."""
    return (((x - x_adv) + eps) / (2 * eps)).clamp(0, 1)
