"""How the loss of single images grows under PGD, and whether all random starts end alike."""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evaluation.analyses.batches import Labelled, batches, is_right, logits_of
from evaluation.analyses.config import ConvergenceConfig
from evaluation.analyses.outcome import AnalysisResult, Outcome, Subject
from models.config import Config
from trainers.attacks.losses import cross_entropy
from trainers.attacks.pgd import pgd
from trainers.data.images import ImageSet


class StepLosses(Config):
    """Cross-entropies, in nats, after a number of steps."""

    steps: int
    mean: float
    """Over points and starts."""
    points: tuple[float, ...]
    """Of each point, the mean over its starts."""
    spreads: tuple[float, ...]
    """Of each point, the largest minus the smallest over its starts."""


class ConvergenceFindings(Config):
    """The losses along the way."""

    image: tuple[int, ...]
    """Place of each point in the split."""
    steps: tuple[StepLosses, ...]

    @property
    def largest_spread(self) -> float:
        """Of any point at the end."""
        return max(self.steps[-1].spreads)


class ConvergenceResult(AnalysisResult):
    """A finished analysis of this kind."""

    config: ConvergenceConfig
    findings: ConvergenceFindings


def run(
    subject: Subject, config: ConvergenceConfig, *, report: Callable[[str], None]
) -> Outcome[ConvergenceFindings]:
    """Follows PGD from every start of every point.

    Returns:
        Array `loss` (steps, points, starts).

    Raises:
        ValueError: If fewer images are right without attack than `config.points`.
    """
    index = _points(subject, config)
    chosen = ImageSet(images=subject.images.images[index], labels=subject.images.labels[index])
    losses = list[Tensor]()
    for number in range(config.starts):
        parts = batches(chosen, batch_size=config.batch_size, device=subject.device)
        rows = [_losses_along(subject.model, part, config, number=number) for part in parts]
        losses.append(torch.cat(rows, dim=1))
        report(
            f"start {number + 1} of {config.starts}: mean loss {float(losses[-1][-1].mean()):.4g}"
        )
    loss = torch.stack(losses, dim=2)  # (steps, points, starts)
    return Outcome(
        findings=ConvergenceFindings(
            image=tuple(index.tolist()),
            steps=tuple(
                StepLosses(
                    steps=steps,
                    mean=float(at.mean()),
                    points=tuple(at.mean(dim=1).tolist()),
                    spreads=tuple((at.amax(dim=1) - at.amin(dim=1)).tolist()),
                )
                for steps, at in zip(config.steps, loss, strict=True)
            ),
        ),
        arrays={"loss": loss.numpy()},
    )


def _points(subject: Subject, config: ConvergenceConfig) -> Tensor:
    parts = batches(subject.images, batch_size=config.batch_size, device=subject.device)
    flags = torch.cat([is_right(subject.model, part.x, part.y) for part in parts])
    index = flags.nonzero().squeeze(1)
    if len(index) < config.points:
        raise ValueError(
            f"points ({config.points}) must not exceed the images that are right without attack, "
            f"{len(index)} of {len(flags)}; ask for fewer points or more images"
        )
    return index[: config.points]


def _losses_along(
    model: nn.Module, batch: Labelled, config: ConvergenceConfig, *, number: int
) -> Float[Tensor, "steps batch"]:
    """Returns the loss in float64 after each number of steps; PGD has no memory between steps."""
    x_adv, rows = batch.starts(config.threat, seed=config.seed, number=number), list[Tensor]()
    for before, steps in pairwise((0, *config.steps)):
        if steps > before:
            x_adv = pgd(
                model,
                batch.x,
                config.threat,
                steps=steps - before,
                step_size=config.step * config.threat.eps,
                loss=lambda logits: cross_entropy(logits, batch.y),
                start=x_adv,
            )
        rows.append(cross_entropy(logits_of(model, x_adv), batch.y).double().cpu())
    return torch.stack(rows)
