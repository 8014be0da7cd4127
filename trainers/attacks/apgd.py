"""Auto-PGD: projected ascent with momentum that halves its own step (Croce and Hein 2020).

One function for training (no start, soft labels, `best`) and for evaluation (a random start, hard
labels, `fooling`). Nothing in the loop waits for the device: choices per image are torch.where.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trainers.attacks.apgd_l1 import climb_l1
from trainers.attacks.iterate import (
    Record,
    choose,
    first_record,
    measure,
    per_image,
    update_record,
)
from trainers.attacks.losses import AttackLoss
from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import Threat, ascent_direction, project

RHO = 0.75
MOMENTUM = 0.75


@dataclass(frozen=True, kw_only=True)
class ApgdResult:
    """What one run found; every image is inside the threat model."""

    best: Float[Tensor, "batch c h w"]
    """The iterate of the highest loss, the start included."""
    loss: Float[Tensor, " batch"]
    """The loss at `best`."""
    fooling: Float[Tensor, "batch c h w"]
    """The latest misclassified iterate; the start where no iterate is misclassified."""
    is_fooled: Bool[Tensor, " batch"]
    """Whether any iterate, the start included, is misclassified."""


def apgd(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    y: Int[Tensor, " batch"],
    threat: Threat,
    *,
    steps: int,
    loss: AttackLoss,
    start: Float[Tensor, "batch c h w"] | None,
) -> ApgdResult:
    """Maximises `loss` by Auto-PGD; costs `steps + 1` forwards and `steps` input gradients.

    Args:
        model: Maps images in [0, 1] to logits; attacked in eval mode, left as it was.
        y: Labels that tell a misclassification; the ascent itself sees only `loss`.
        start: First iterate, inside `threat`; None starts at `x`, as in training.

    Raises:
        ValueError: If `steps < 1`.
    Source: Croce and Hein 2020, arXiv:2003.01690, alg. 1, with the details of AutoAttack's code;
    for l1 see `climb_l1`.
    """
    if steps < 1:
        raise ValueError(f"apgd needs steps >= 1, got {steps=}; for clean images do not attack")
    with attack_mode(model):
        if threat.norm == "l1":
            found = climb_l1(model, x, y, threat.eps, steps=steps, loss=loss, start=start)
        else:
            found = _climb(model, x, y, threat, steps, loss, x if start is None else start)
    return ApgdResult(
        best=found.best.x,
        loss=found.best.loss,
        fooling=found.fooling,
        is_fooled=found.is_fooled,
    )


def checkpoints(steps: int) -> tuple[int, ...]:
    """Returns the iterations, counted from 1, after which the step size is reconsidered."""
    length, shortest, decrement = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found: list[int] = []
    while (at := length + (found[-1] if found else 0)) <= steps:
        found.append(at)
        length = max(length - decrement, shortest)
    return tuple(found)


def move(
    x_adv: Tensor,
    grad: Tensor,
    previous: Tensor,
    x: Tensor,
    threat: Threat,
    step_size: Tensor,
    momentum: float | Tensor,
) -> Tensor:
    """Returns the next iterate: a step up `grad`, mixed with the last move, inside `threat`.

    Args:
        step_size, momentum: One each, or one per image, (batch, 1, 1, 1).

    Source: Croce and Hein 2020, arXiv:2003.01690, eq. 1 and 2.
    """
    proposal = project(x_adv + step_size * ascent_direction(grad, threat), x, threat)
    mixed = x_adv + momentum * (proposal - x_adv) + (1 - momentum) * (x_adv - previous)
    return project(mixed, x, threat)


def _climb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    steps: int,
    loss: AttackLoss,
    start: Tensor,
) -> Record:
    now = measure(model, start, y, loss, needs_grad=True)
    record, previous = first_record(now), now.x
    step_size = torch.ones_like(now.loss) * (2 * threat.eps)
    # AutoAttack compares the first step's loss with 0, not with the start's. For cross-entropy
    # that always counts as an increase, which is why APGD-2 never halves its step.
    last_loss = torch.zeros_like(now.loss)
    increases = torch.zeros_like(now.loss)
    was_halved = torch.ones_like(now.is_wrong)
    loss_at_check, last_check, checks = now.loss, 0, checkpoints(steps)
    for step in range(1, steps + 1):
        momentum = 1.0 if step == 1 else MOMENTUM
        x_next = move(now.x, now.grad, previous, x, threat, per_image(step_size), momentum)
        previous = now.x
        now = measure(model, x_next, y, loss, needs_grad=step < steps)
        increases = increases + (now.loss > last_loss)
        last_loss = now.loss
        record = update_record(record, now)
        if step in checks:
            oscillates = increases <= RHO * (step - last_check)
            is_stuck = ~was_halved & (loss_at_check >= record.best.loss)
            was_halved = oscillates | is_stuck
            step_size = torch.where(was_halved, step_size / 2, step_size)
            now = choose(was_halved, record.best, now)
            loss_at_check, last_check = record.best.loss, step
            increases = torch.zeros_like(increases)
    return record
