"""The early check: a cheap, deterministic upper bound of the reference, for ranking trials.

APGD on cross-entropy first, then targeted APGD on what survived, both run by the engine.

Where a decision is pending, the check races downwards only: it ends before its last image once the
model surely misses the cutoff, but not once it surely reaches it. What goes on is compared with
other trials and teaches the sampler, so its score must not be noisier than theirs.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from evaluation.config import EarlyCheckConfig
from evaluation.engine.engine import Engine, Outcome, SearchConfig, item_seed
from evaluation.engine.stages import AttackName, EvaluationAttack, stages_of
from evaluation.probe import run_probe
from evaluation.racing import Pending, blocks, decide
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy, Check
from trainers.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class EarlyFlags:
    """The outcome of an early check for each image that it saw, in the order of the split."""

    is_clean_correct: tuple[bool, ...]
    is_robust: tuple[bool, ...]


def early_check(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    pending: Pending | None,
    device: torch.device,
) -> Check:
    """Counts the first `config.images` images that the model gets right, clean and attacked.

    The check may end at a look before the last. Accuracies and the probe (`evaluation/probe.py`)
    are then of the images seen: all numbers of a check have one n.

    Args:
        model: On `device`; attacked in eval mode, left as it was.
        pending: What hangs on the check; None: it sees all images.

    Raises:
        ValueError: If the split or the classes are fewer than `config` asks for.
        RuntimeError: If an attack leaves the ball or the box.
    """
    started = time.perf_counter()
    flags = _race(model, images, threat, config, pending=pending, device=device)
    seen = len(flags.is_robust)
    probe = run_probe(
        model,
        images.first(seen),
        threat,
        seeds=[item_seed(config.seed, image=i, stage=0) for i in range(seen)],
        batch_size=config.batch_size,
        device=device,
    )
    return Check(
        clean=_accuracy("clean", flags.is_clean_correct),
        robust=_accuracy(attack_name(config), flags.is_robust),
        probe=probe,
        unseen=_check_unseen(model, images.first(seen), config, device=device),
        missed=pending.cutoff if pending and seen < config.images else None,
        seconds=time.perf_counter() - started,
    )


def _check_unseen(
    model: nn.Module, images: ImageSet, config: EarlyCheckConfig, *, device: torch.device
) -> tuple[Accuracy, ...]:
    """Attacks the images under each threat that training does not know."""
    settings = config.model_copy(update={"images": len(images)})
    return tuple(
        _accuracy(
            f"{attack_name(config)}, {threat.norm} {threat.eps:.4g}",
            early_flags(model, images, threat, settings, device=device).is_robust,
        )
        for threat in config.unseen
    )


def early_flags(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    device: torch.device,
) -> EarlyFlags:
    """Does the work of `early_check` on all images and returns the outcome of each."""
    return _race(model, images, threat, config, pending=None, device=device)


def _race(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    pending: Pending | None,
    device: torch.device,
) -> EarlyFlags:
    """Returns the flags up to the first look at which the cutoff is surely missed, or all."""
    first = min(pending.race.first_block, config.images) if pending else config.images
    looks, flags = blocks(config.images, first=first), EarlyFlags(is_clean_correct=(), is_robust=())
    for flags in _flags_at(looks, model, images, threat, config, device=device):
        if pending is not None and _misses(flags, pending, looks):
            break
    return flags


def _misses(flags: EarlyFlags, pending: Pending, looks: Sequence[int]) -> bool:
    correct, seen = sum(flags.is_robust), len(flags.is_robust)
    cutoff, alpha = pending.cutoff, pending.race.alpha
    return decide(correct, seen=seen, looks=looks, cutoff=cutoff, alpha=alpha) == "below"


def _flags_at(
    looks: Sequence[int],
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: EarlyCheckConfig,
    *,
    device: torch.device,
) -> Iterator[EarlyFlags]:
    """Yields the flags of all images seen, after each of `looks`."""
    subset = images.first(config.images)
    search = SearchConfig(
        batch_size=config.batch_size, precision="fp32", compile=False, seed=config.seed
    )
    engine = Engine(model, subset, threat, search, numbers=range(len(subset)), device=device)
    is_right, broken = list[bool](), set[int]()

    def note(outcome: Outcome, x_adv: Tensor | None) -> None:
        if x_adv is not None:
            broken.add(outcome.image)

    for first, end in pairwise((0, *looks)):
        clean = engine.look(range(first, end), targets=config.targets)
        engine.attack(clean, stages_of(early_attacks(config)), known={}, on_outcome=note)
        is_right += [one.predicted == one.label for one in clean]
        yield EarlyFlags(
            is_clean_correct=tuple(is_right),
            is_robust=tuple(right and i not in broken for i, right in enumerate(is_right)),
        )


def early_attacks(config: EarlyCheckConfig) -> tuple[EvaluationAttack, EvaluationAttack]:
    """Returns the attacks of a check, in order."""
    runs: tuple[tuple[AttackName, int, int], ...] = (
        ("apgd-ce", config.ce_steps, 0),
        ("apgd-t", config.t_steps, config.targets),
    )
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
