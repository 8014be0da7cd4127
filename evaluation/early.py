"""The early check: a cheap, deterministic upper bound of the reference, for ranking trials.

APGD on cross-entropy first, then targeted APGD on what survived, both run by the engine.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evaluation.config import EarlyCheckConfig
from evaluation.engine.engine import Engine, Outcome, SearchConfig, item_seed
from evaluation.engine.stages import EvaluationAttack, stages_of
from evaluation.probe import run_probe
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

    The probe (`evaluation/probe.py`) is of the same images.

    Args:
        model: On `device`; attacked in eval mode, left as it was.

    Raises:
        ValueError: If the split or the classes are fewer than `config` asks for.
        RuntimeError: If an image that the attack claims does not pass verification.
    """
    started = time.perf_counter()
    flags = early_flags(model, images, threat, config, device=device)
    probe = run_probe(
        model,
        images.first(config.images),
        threat,
        seeds=[item_seed(config.seed, image=i, stage=0) for i in range(config.images)],
        batch_size=config.batch_size,
        device=device,
    )
    return Check(
        clean=_accuracy("clean", flags.is_clean_correct),
        robust=_accuracy(attack_name(config), flags.is_robust),
        probe=probe,
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
    search = SearchConfig(
        batch_size=config.batch_size, precision="fp32", compile=False, seed=config.seed
    )
    engine = Engine(model, subset, threat, search, device=device)
    clean = engine.look(range(len(subset)), targets=config.targets)
    broken: set[int] = set()

    def note(outcome: Outcome, x_adv: Tensor | None) -> None:
        if x_adv is not None:
            broken.add(outcome.image)

    engine.attack(clean, stages_of(early_attacks(config)), known={}, on_outcome=note)
    is_right = tuple(one.predicted == one.label for one in clean)
    return EarlyFlags(
        is_clean_correct=is_right,
        is_robust=tuple(right and i not in broken for i, right in enumerate(is_right)),
    )


def early_attacks(config: EarlyCheckConfig) -> tuple[EvaluationAttack, EvaluationAttack]:
    """Returns the attacks of a check, in order."""
    runs = (("apgd-ce", config.ce_steps, 0), ("apgd-t", config.t_steps, config.targets))
    ce, targeted = (
        EvaluationAttack(
            name=name, steps=steps, restarts=1, targets=targets, passes=1, shrinks=False
        )
        for name, steps, targets in runs
    )
    return ce, targeted


def attack_name(config: EarlyCheckConfig) -> str:
    """Returns the name under which the robust accuracy is reported."""
    return f"apgd_ce{config.ce_steps}+apgd_t{config.targets}x{config.t_steps}"


def _accuracy(attack: str, flags: tuple[bool, ...]) -> Accuracy:
    return Accuracy(attack=attack, n=len(flags), correct=sum(flags))
