"""The early check: a cheap, deterministic upper bound of the reference, for ranking trials.

APGD on cross-entropy first, then targeted APGD on what survived. Every image has its own random
start, so neither the batch size nor the fate of other images changes its result.
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from evaluation.config import EarlyCheckConfig
from evaluation.precision import full_precision
from evaluation.verify import verify_adversarial
from trainers.attacks.apgd import AttackLoss, apgd
from trainers.attacks.losses import cross_entropy, targeted_dlr
from trainers.attacks.mode import attack_mode
from trainers.attacks.start import random_start
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy, Check
from trainers.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class EarlyFlags:
    """The outcome of an early check for each image, in the order of the split."""

    is_clean_correct: tuple[bool, ...]
    is_robust: tuple[bool, ...]


def early_check(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    device: torch.device,
) -> Check:
    """Counts the first `config.images` images that the model gets right, clean and attacked.

    Args:
        model: On `device`; attacked in eval mode, left as it was.

    Raises:
        ValueError: If the split or the classes are fewer than `config` asks for.
        RuntimeError: If an image that the attack claims does not pass verification.
    """
    started = time.perf_counter()
    flags = early_flags(model, images, threat, config, device=device)
    return Check(
        clean=_accuracy("clean", flags.is_clean_correct),
        robust=_accuracy(attack_name(config), flags.is_robust),
        seconds=time.perf_counter() - started,
    )


def early_flags(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    device: torch.device,
) -> EarlyFlags:
    """Does the work of `early_check` and returns the outcome of each image."""
    subset = images.first(config.images)
    with attack_mode(model), full_precision():
        is_correct, wrong_classes = _rank_classes(model, subset, config, device)
        check = _Attacker(
            model=model,
            images=subset,
            threat=threat,
            config=config,
            device=device,
            wrong_classes=wrong_classes,
        )
        survivors = check.survivors(is_correct.nonzero().squeeze(1), steps=config.ce_steps, rank=0)
        for rank in range(1, config.targets + 1):
            survivors = check.survivors(survivors, steps=config.t_steps, rank=rank)
    is_robust = torch.zeros_like(is_correct)
    is_robust[survivors] = True
    return EarlyFlags(
        is_clean_correct=tuple(is_correct.tolist()), is_robust=tuple(is_robust.tolist())
    )


def attack_name(config: EarlyCheckConfig) -> str:
    """Returns the name under which the robust accuracy is reported."""
    return f"apgd_ce{config.ce_steps}+apgd_t{config.targets}x{config.t_steps}"


@dataclass(frozen=True, kw_only=True)
class _Attacker:
    model: nn.Module
    images: ImageSet
    threat: ThreatModel
    config: EarlyCheckConfig
    device: torch.device
    wrong_classes: Int64[Tensor, "n targets"]

    def survivors(
        self, index: Int64[Tensor, " some"], *, steps: int, rank: int
    ) -> Int64[Tensor, " fewer"]:
        """Returns those of `index` that stay right; rank 0 is cross-entropy, k the k-th target."""
        parts = index.split(self.config.batch_size) if len(index) else ()
        fooled = [self._is_fooled(part, steps=steps, rank=rank) for part in parts]
        return index[~torch.cat(fooled)] if fooled else index

    def _is_fooled(self, index: Tensor, *, steps: int, rank: int) -> Tensor:
        x = self.images.floats(index).to(self.device)
        y = self.images.labels[index].to(self.device)
        seeds = [start_seed(self.config.seed, image=i, rank=rank) for i in index.tolist()]
        start = random_start(x, self.threat, seeds=seeds)
        loss = self._loss(index, y, rank)
        found = apgd(self.model, x, y, self.threat, steps=steps, loss=loss, start=start)
        fooled = found.is_fooled
        if bool(fooled.any()):
            verify_adversarial(self.model, x[fooled], found.fooling[fooled], y[fooled], self.threat)
        return fooled.cpu()

    def _loss(self, index: Tensor, y: Tensor, rank: int) -> AttackLoss:
        if rank == 0:
            return lambda logits: cross_entropy(logits, y)
        target = self.wrong_classes[index, rank - 1].to(self.device)
        return lambda logits: targeted_dlr(logits, y, target)


def start_seed(seed: int, *, image: int, rank: int) -> int:
    """Returns the seed of one image's random start in one of its attacks."""
    return int(np.random.SeedSequence([seed, image, rank]).generate_state(1)[0])


@torch.no_grad()
def _rank_classes(
    model: nn.Module, images: ImageSet, config: EarlyCheckConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns which images are right (n,) and their most likely wrong classes (n, targets)."""
    correct: list[Tensor] = []
    wrong: list[Tensor] = []
    for index in torch.arange(len(images)).split(config.batch_size):
        y = images.labels[index].to(device)
        logits = model(images.floats(index).to(device))  # (batch, classes)
        if config.targets >= logits.shape[1]:
            raise ValueError(
                f"targets ({config.targets}) must be less than the number of classes "
                f"({logits.shape[1]})"
            )
        correct.append((logits.argmax(dim=1) == y).cpu())
        others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
        wrong.append(others.topk(config.targets, dim=1).indices.cpu())
    return torch.cat(correct), torch.cat(wrong)


def _accuracy(attack: str, flags: tuple[bool, ...]) -> Accuracy:
    return Accuracy(attack=attack, n=len(flags), correct=sum(flags))
