"""The attack behind every accuracy of the analyses, in one place."""

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from evaluation.analyses.config import ImagesConfig, StrongAttack
from evaluation.config import EarlyCheckConfig
from evaluation.early import attack_name, early_flags
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel


def robust_flags(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    strong: StrongAttack,
    config: ImagesConfig,
    *,
    device: torch.device,
) -> Bool[Tensor, " n"]:
    """Returns for each image whether the model is right about it without and under the attack.

    Raises:
        ValueError: If there are fewer classes than `strong` aims at, or fewer than four.
        RuntimeError: If an attack leaves the ball or the box.
    """
    check = _check(strong, config, images=len(images))
    return torch.tensor(early_flags(model, images, threat, check, device=device).is_robust)


def strong_name(strong: StrongAttack, config: ImagesConfig) -> str:
    """Returns the name under which accuracies of the attack are reported."""
    return attack_name(_check(strong, config, images=config.images))


def _check(strong: StrongAttack, config: ImagesConfig, *, images: int) -> EarlyCheckConfig:
    return EarlyCheckConfig(
        images=images,
        ce_steps=strong.ce_steps,
        t_steps=strong.t_steps,
        targets=strong.targets,
        batch_size=config.batch_size,
        seed=config.seed,
    )
