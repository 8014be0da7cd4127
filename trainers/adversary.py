"""From an `AttackConfig` to training images: what part of a batch is attacked, how, aimed at what.

All random numbers are drawn first, for the whole batch, so that neither the parts that memory
demands nor compilation change them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.attacks.apgd import apgd
from trainers.attacks.config import AttackConfig
from trainers.attacks.fgsm import fgsm
from trainers.attacks.losses import cross_entropy, dlr, kl_divergence, targeted_dlr
from trainers.attacks.mode import attack_mode
from trainers.attacks.multi_norm import msd, worst_of
from trainers.attacks.pgd import pgd
from trainers.attacks.projection import Ball
from trainers.attacks.start import noise_start
from trainers.attacks.targets import least_likely_targets, random_targets
from trainers.compute import compiling
from trainers.config import TrialConfig
from trainers.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What an attack climbs with; None where its loss does not ask."""

    targets: Float[Tensor, "batch classes"]
    """Those that training fits, soft or one-hot."""
    aims: Tensor | None
    """Classes of a targeted attack, (batch,)."""
    reference: Tensor | None
    """Clean logits, (batch, classes)."""

    def part(self, rows: slice) -> "Labels":
        """Returns the labels of some of the images."""
        return Labels(
            targets=self.targets[rows],
            aims=None if self.aims is None else self.aims[rows],
            reference=None if self.reference is None else self.reference[rows],
        )


class Adversary:
    """Makes the training images of every step of one trial."""

    def __init__(self, network: nn.Module, config: TrialConfig) -> None:
        """`network` is attacked as it is; under `compute.compile`, each attack is one graph."""
        self._network = network
        self._config = config.attack
        self._threats = (config.threat, *config.attack.also)
        self._parts = config.compute.accumulation
        self._is_compiled = config.compute.compile
        self._attack: Callable[..., Tensor] = partial(_attack, network, config.attack)
        if self._is_compiled:
            self._attack = torch.compile(  # pyright: ignore[reportUnknownMemberType]
                self._attack, fullgraph=True, dynamic=False
            )

    def __call__(
        self,
        x: Float[Tensor, "batch 3 h w"],
        targets: Float[Tensor, "batch classes"],
        *,
        radius: float,
        steps: int,
        turn: int,
        generator: torch.Generator,
    ) -> Float[Tensor, "many 3 h w"]:
        """Returns the batch with its first images attacked; `average` returns it once per threat.

        Args:
            radius: Share of each threat's eps; 0 leaves `x` alone.
            steps: Of the attack; 1 for `fgsm`.
            turn: Number of the step in training, by which `alternate` chooses its threat.
        """
        attacked = round(self._config.fraction * len(x))
        if not radius or not attacked:
            return x
        balls = [_scaled(threat, radius, x) for threat in self._threats]
        if len(balls) > 1 and self._config.union == "alternate":
            balls = [balls[turn % len(balls)]]
        x, rest, targets = x[:attacked], x[attacked:], targets[:attacked]
        starts = [
            noise_start(x, ball, noise=self._config.noise, generator=generator) for ball in balls
        ]
        with attack_mode(self._network), compiling(self._is_compiled):
            labels = self._labels(x, targets, generator)
            size = -(-attacked // self._parts)
            parts = [slice(first, first + size) for first in range(0, attacked, size)]
            found = [
                self._united(x[rows], labels.part(rows), balls, [s[rows] for s in starts], steps)
                for rows in parts
            ]
        # Whole batches again: the parts of the first threat, then those of the next.
        batches = [torch.cat(same_threat) for same_threat in zip(*found, strict=True)]
        return torch.cat([torch.cat([batch, rest]) for batch in batches])

    def _labels(self, x: Tensor, targets: Tensor, generator: torch.Generator) -> Labels:
        config, y = self._config, targets.argmax(dim=1)
        aims = reference = None
        if config.target == "random":
            aims = random_targets(y, num_classes=targets.shape[1], generator=generator)
        elif config.target == "least_likely":
            parts = zip(x.chunk(self._parts), y.chunk(self._parts), strict=True)
            aims = torch.cat([least_likely_targets(self._network, *part) for part in parts])
        if config.loss == "kl":
            with torch.no_grad():
                reference = torch.cat([self._network(part) for part in x.chunk(self._parts)])
        return Labels(targets=targets, aims=aims, reference=reference)

    def _united(
        self,
        x: Tensor,
        labels: Labels,
        balls: Sequence[Ball],
        starts: Sequence[Tensor],
        steps: int,
    ) -> list[Tensor]:
        """Returns the attacked images: one batch, or one for each threat under `average`."""
        arguments = (labels.targets, labels.aims, labels.reference)
        if len(balls) > 1 and self._config.union == "msd":
            return [self._attack(x, *arguments, balls, starts[0], steps)]
        found = [
            self._attack(x, *arguments, [ball], start, steps)
            for ball, start in zip(balls, starts, strict=True)
        ]
        if len(found) == 1 or self._config.union == "average":
            return found
        return [worst_of(self._network, found, loss=_loss(self._config, labels))]


def _attack(
    network: nn.Module,
    config: AttackConfig,
    x: Tensor,
    targets: Tensor,
    aims: Tensor | None,
    reference: Tensor | None,
    balls: Sequence[Ball],
    start: Tensor,
    steps: int,
) -> Tensor:
    """Runs one attack on tensors alone, so that it compiles to one graph."""
    loss = _loss(config, Labels(targets=targets, aims=aims, reference=reference))
    if len(balls) > 1:
        return msd(network, x, balls, steps=steps, reach=config.reach, loss=loss, start=start)
    (ball,) = balls
    step_size = config.reach * ball.eps / steps
    if config.name == "fgsm":
        return fgsm(
            network,
            x,
            ball,
            step_size=step_size,
            loss=loss,
            start=start,
            is_projected=config.project,
        )
    if config.name == "pgd":
        return pgd(network, x, ball, steps=steps, step_size=step_size, loss=loss, start=start)
    y = targets.argmax(dim=1)
    return apgd(
        network, x, y, ball, steps=steps, loss=loss, start=start if config.noise else None
    ).best


def _loss(config: AttackConfig, labels: Labels) -> Callable[[Tensor], Tensor]:
    y, aims, reference = labels.targets.argmax(dim=1), labels.aims, labels.reference
    if reference is not None:
        return lambda logits: kl_divergence(logits, reference)
    if aims is not None and config.loss == "dlr":
        return lambda logits: targeted_dlr(logits, y, aims)
    if aims is not None:
        return lambda logits: -cross_entropy(logits, aims)
    if config.loss == "dlr":
        return lambda logits: dlr(logits, y)
    return lambda logits: cross_entropy(logits, labels.targets)


def _scaled(threat: ThreatModel, radius: float, x: Tensor) -> Ball:
    # A tensor, made without waiting for the device: a number would compile anew at every step.
    return Ball(norm=threat.norm, eps=torch.full((), radius * threat.eps, device=x.device))
