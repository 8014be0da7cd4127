"""Whether adversarial images of one model fool another: a matrix of accuracies."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from evaluation.analyses.batches import Labelled, batches, count_right, is_right
from evaluation.analyses.config import TransferConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from models.config import Config
from trainers.attacks.apgd import apgd
from trainers.attacks.losses import cross_entropy
from trainers.metrics import Accuracy


class TransferRow(Config):
    """Adversarial images of one model, and what every model makes of them."""

    source: str
    targets: dict[str, Accuracy]
    """Of each model; the source among them."""


class TransferFindings(Config):
    """A row for each model."""

    clean: dict[str, Accuracy]
    rows: tuple[TransferRow, ...]


class TransferResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: TransferConfig
    findings: TransferFindings


def run(
    subject: Subject, config: TransferConfig, *, report: Callable[[str], None]
) -> Outcome[TransferFindings]:
    """Attacks all images on each model, from the same random starts, and shows them to all.

    Returns:
        Arrays `is_clean_correct` (models, n) and `is_correct` (sources, targets, n).

    Raises:
        ValueError: If there is one model only.
    """
    names, models = list(subject.models), list(subject.models.values())
    if len(models) < 2:
        raise ValueError(
            "transfer needs a second model, got none; name its checkpoint in with=PATH, several as "
            "with=PATH,PATH"
        )
    parts = list(batches(subject.images, batch_size=config.batch_size, device=subject.device))
    clean = torch.cat([_right(models, part, part.x) for part in parts], dim=1)
    attack = f"apgd_ce{config.steps}"
    rows, flags = list[TransferRow](), list[Tensor]()
    for source, model in subject.models.items():
        found = torch.cat([_right(models, p, _attack(model, p, config)) for p in parts], dim=1)
        targets = {name: count_right(attack, row) for name, row in zip(names, found, strict=True)}
        rows.append(TransferRow(source=source, targets=targets))
        flags.append(found)
        report(f"images of {source}: {', '.join(f'{n} {a.value:.3f}' for n, a in targets.items())}")
    accuracies = {name: count_right("clean", row) for name, row in zip(names, clean, strict=True)}
    return Outcome(
        findings=TransferFindings(clean=accuracies, rows=tuple(rows)),
        arrays={"is_clean_correct": clean.numpy(), "is_correct": torch.stack(flags).numpy()},
    )


def _attack(model: nn.Module, batch: Labelled, config: TransferConfig) -> Tensor:
    return apgd(
        model,
        batch.x,
        batch.y,
        config.threat,
        steps=config.steps,
        loss=lambda logits: cross_entropy(logits, batch.y),
        start=batch.starts(config.threat, seed=config.seed, number=0),
    ).best


def _right(models: Sequence[nn.Module], batch: Labelled, x: Tensor) -> Bool[Tensor, "models batch"]:
    return torch.stack([is_right(model, x, batch.y) for model in models])
