"""The reference: AutoAttack as `pyautoattack` runs it, made resumable and verified.

The package attacks every batch of the list from clean to finished, one attack of its sequence at a
time on the images that still stand. Within a batch that is what its own evaluation does, with the
same seed and the same images together; only the name of the attack that broke an image is gained.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyautoattack
import torch
from jaxtyping import Float, Int64
from pyautoattack import checks
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from evaluation.config import ReferenceConfig
from evaluation.engine.stages import EvaluationAttack
from evaluation.examples import EXAMPLES
from evaluation.precision import full_precision
from evaluation.progress import (
    MISCLASSIFIED,
    ROBUST,
    Example,
    ReferenceIdentity,
    ReferenceProgress,
    pick_examples,
    read_progress,
    write_progress,
)
from evaluation.verify import inspect_adversarial, verify_adversarial
from evaluation.weights import model_hash
from trainers.attacks.mode import attack_mode
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

PackageAttack = pyautoattack.autoattack.AttackName
SEQUENCES: dict[str, tuple[PackageAttack, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
"""The attacks of each version of the package, in order."""
PACKAGE_NORMS: dict[str, Literal["Linf", "L2", "L1"]] = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def reference_autoattack(
    model: nn.Module,
    images: ImageSet,
    threat: ThreatModel,
    config: ReferenceConfig,
    *,
    partial: Path,
    device: torch.device,
    on_batch: Callable[[int, int], None],
) -> ReferenceProgress:
    """Attacks the first `config.images` images and returns the finished progress.

    Args:
        model: On `device`; attacked in eval mode, left as it was.
        partial: Where progress is kept after each batch; an evaluation that was killed goes on
            from there, a finished one is returned without work. Left in place.
        on_batch: Told (images finished, images in all) after each batch is safely on disk.

    Raises:
        ValueError: If there are too few images or classes, or `partial` is of another evaluation.
        RuntimeError: If an image that the package claims does not pass verification.
    """
    subset = images.first(config.images)
    progress = read_progress(partial, reference_identity(model, subset, threat, config))
    while (done := len(progress.outcomes)) < len(subset):
        index = torch.arange(done, min(done + config.batch_size, len(subset)))
        progress = _after_batch(model, subset, progress, index, device)
        write_progress(partial, progress)
        on_batch(len(progress.outcomes), len(subset))
    return progress


def reference_identity(
    model: nn.Module, images: ImageSet, threat: ThreatModel, config: ReferenceConfig
) -> ReferenceIdentity:
    """Returns what ties an evaluation of exactly `images` to its files."""
    return ReferenceIdentity(
        attack_package=f"pyautoattack {pyautoattack.__version__}",
        model_hash=model_hash(model),
        data_hash=images.hash,
        threat=threat,
        config=config,
    )


@dataclass(frozen=True, kw_only=True)
class AttackedBatch:
    """The outcome of a batch; `x_adv` is the clean image where no attack succeeded."""

    outcomes: tuple[str, ...]
    perturbations: tuple[float, ...]
    x_adv: Float[Tensor, "batch c h w"]


def attack_batch(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    y: Int64[Tensor, " batch"],
    threat: ThreatModel,
    config: ReferenceConfig,
    *,
    device: torch.device,
) -> AttackedBatch:
    """Runs the package's sequence on one batch; the global random state stays as it was.

    Args:
        config: Its batch size and number of images do not matter here.

    Raises:
        ValueError: If the model has fewer than four classes.
        RuntimeError: If an image that the package claims does not pass verification.
    """
    with attack_mode(model), full_precision(), _isolated(device):
        return _attack_in_order(model, x.to(device), y.to(device), threat, config, device)


def sequence_of(config: ReferenceConfig) -> tuple[PackageAttack, ...]:
    """Returns the names of the attacks of an evaluation, in order."""
    if config.version == "custom":
        return tuple(attack.name for attack in config.attacks)
    return SEQUENCES[config.version]


def _attack_in_order(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    config: ReferenceConfig,
    device: torch.device,
) -> AttackedBatch:
    package = build_package(model, x, threat, config, device)
    outcomes = [ROBUST if right else MISCLASSIFIED for right in _is_right(model, x, y).tolist()]
    x_adv, perturbations = x.clone(), torch.zeros(len(x))
    for place, name in enumerate(sequence_of(config)):
        if config.version == "custom":
            _set_attack(package, config.attacks[place], seed=config.seed)
        standing = [i for i, outcome in enumerate(outcomes) if outcome == ROBUST]
        if not standing:
            break
        package.attacks_to_run = [name]
        found, predicted = package.run_standard_evaluation(
            x[standing], y[standing], batch_size=len(x)
        )
        is_broken = predicted != y[standing]
        broken = [i for i, is_out in zip(standing, is_broken.tolist(), strict=True) if is_out]
        if broken:
            x_adv[broken] = found[is_broken]
            if config.version == "rand":  # such a model may be right the next time it is asked
                norms, _ = inspect_adversarial(model, x[broken], x_adv[broken], threat)
            else:
                norms = verify_adversarial(model, x[broken], x_adv[broken], y[broken], threat)
            perturbations[broken] = norms.cpu()
        for i in broken:
            outcomes[i] = name
    return AttackedBatch(
        outcomes=tuple(outcomes), perturbations=tuple(perturbations.tolist()), x_adv=x_adv.cpu()
    )


def build_package(
    model: nn.Module,
    x: Tensor,
    threat: ThreatModel,
    config: ReferenceConfig,
    device: torch.device,
) -> pyautoattack.AutoAttack:
    """Sets the version, with fewer targets where there are fewer than ten classes."""
    with torch.no_grad():
        num_classes = model(x[:1]).shape[1]
    if num_classes < 4:
        raise ValueError(f"AutoAttack's targeted loss needs at least 4 classes, got {num_classes}")
    attack = pyautoattack.AutoAttack(
        model,
        attacks=list(sequence_of(config)) if config.version == "custom" else None,
        norm=PACKAGE_NORMS[threat.norm],
        eps=threat.eps,
        seed=config.seed,
        version=config.version,
        device=device,
    )
    for part in (attack.apgd_targeted, attack.fab):
        part.n_target_classes = min(part.n_target_classes, num_classes - 1)
    return attack


def _set_attack(package: pyautoattack.AutoAttack, attack: EvaluationAttack, *, seed: int) -> None:
    """Sets the package's attack of that name to what version custom asks for."""
    if attack.name == "square":
        package.square.n_queries, package.square.n_restarts = attack.steps, attack.restarts
    elif attack.name == "fab-t":
        package.fab.n_iter, package.fab.n_target_classes = attack.steps, attack.targets
    else:
        kind = APGDAttack_targeted if attack.targets else APGDAttack
        built = kind(
            package.model,
            n_iter=attack.steps,
            norm=package.norm,
            n_restarts=attack.restarts,
            eps=package.epsilon,
            seed=seed,
            eot_iter=attack.passes,
            device=package.device,
            use_largereps=attack.shrinks,
            logger=package.logger,
        )
        if isinstance(built, APGDAttack_targeted):
            built.n_target_classes = attack.targets
            package.apgd_targeted = built
        else:
            package.apgd = built


@contextmanager
def _isolated(device: torch.device) -> Generator[None, None, None]:
    """Keeps the package from disturbing the process: random state, tracing, a sticky check.

    `check_dynamic` only logs a warning. It ends any coverage or debugger trace, and its counters
    are never reset, so one compiled model marks every later model of the process as "dynamic".
    """
    check = checks.check_dynamic
    checks.check_dynamic = _skip_check
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        checks.check_dynamic = check


def _skip_check(*_: object, **__: object) -> None:
    """Takes the place of `check_dynamic`."""


@torch.no_grad()
def _is_right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return model(x).argmax(dim=1) == y


def _after_batch(
    model: nn.Module,
    images: ImageSet,
    progress: ReferenceProgress,
    index: Int64[Tensor, " batch"],
    device: torch.device,
) -> ReferenceProgress:
    """Attacks the images at `index` and returns `progress` with their outcome appended."""
    started = time.perf_counter()
    identity = progress.identity
    batch = attack_batch(
        model,
        images.floats(index),
        images.labels[index],
        identity.threat,
        identity.config,
        device=device,
    )
    outcomes = progress.outcomes + batch.outcomes
    kept = {example.index: example for example in progress.examples}
    new = dict(zip(index.tolist(), batch.x_adv, strict=True))
    is_broken = [outcome not in (ROBUST, MISCLASSIFIED) for outcome in outcomes]
    picked = pick_examples(images.labels[: len(outcomes)].tolist(), is_broken, limit=EXAMPLES)
    return ReferenceProgress(
        schema_version=1,
        identity=identity,
        outcomes=outcomes,
        perturbations=progress.perturbations + batch.perturbations,
        examples=tuple(Example.of(i, new[i]) if i in new else kept[i] for i in picked),
        seconds=progress.seconds + time.perf_counter() - started,
    )
