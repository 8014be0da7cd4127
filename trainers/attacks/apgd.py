"""Auto-PGD: projected ascent with momentum that halves its own step (Croce and Hein 2020).

One function for training (no start, soft labels, `best`) and for evaluation (a random start, hard
labels, `fooling`). Nothing in the loop waits for the device: choices per image are torch.where.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import ascent_direction, project
from trainers.threat import ThreatModel

AttackLoss = Callable[[Tensor], Tensor]
"""Logits (batch, classes) -> one number per image, to be maximised; it knows the labels."""

RHO = 0.75
MOMENTUM = 0.75


@dataclass(frozen=True, kw_only=True)
class ApgdResult:
    """What one run found; every image is inside the threat model."""

    best: Float[Tensor, "batch c h w"]
    """The iterate of the highest loss, the start included."""
    fooling: Float[Tensor, "batch c h w"]
    """The latest misclassified iterate; the start where no iterate is misclassified."""
    is_fooled: Bool[Tensor, " batch"]
    """Whether any iterate, the start included, is misclassified."""


def apgd(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    y: Int[Tensor, " batch"],
    threat: ThreatModel,
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
    Source: Croce and Hein 2020, arXiv:2003.01690, alg. 1, with the details of AutoAttack's code.
    """
    if steps < 1:
        raise ValueError(f"apgd needs steps >= 1, got {steps=}")
    with attack_mode(model):
        return _climb(model, x, y, threat, steps, loss, x if start is None else start)


def checkpoints(steps: int) -> tuple[int, ...]:
    """Returns the iterations, counted from 1, after which the step size is reconsidered."""
    length, shortest, decrement = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    found: list[int] = []
    while (at := length + (found[-1] if found else 0)) <= steps:
        found.append(at)
        length = max(length - decrement, shortest)
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Point:
    """An iterate of each image, with all that was measured there."""

    x: Tensor
    loss: Tensor
    grad: Tensor
    is_wrong: Tensor


def _climb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    steps: int,
    loss: AttackLoss,
    start: Tensor,
) -> ApgdResult:
    now = best = _measure(model, start, y, loss, needs_grad=True)
    previous, fooling, is_fooled = now.x, now.x, now.is_wrong
    step_size = torch.full_like(now.loss, 2 * threat.eps)
    # AutoAttack compares the first step's loss with 0, not with the start's. For cross-entropy
    # that always counts as an increase, which is why APGD-2 never halves its step.
    last_loss = torch.zeros_like(now.loss)
    increases = torch.zeros_like(now.loss)
    was_halved = torch.ones_like(now.is_wrong)
    loss_at_check, last_check, checks = best.loss, 0, checkpoints(steps)
    for step in range(1, steps + 1):
        x_next = _move(now, previous, x, threat, step_size, 1.0 if step == 1 else MOMENTUM)
        previous = now.x
        now = _measure(model, x_next, y, loss, needs_grad=step < steps)
        increases = increases + (now.loss > last_loss)
        last_loss = now.loss
        fooling = torch.where(_per_image(now.is_wrong), now.x, fooling)
        is_fooled = is_fooled | now.is_wrong
        best = _where(now.loss > best.loss, now, best)
        if step in checks:
            oscillates = increases <= RHO * (step - last_check)
            is_stuck = ~was_halved & (loss_at_check >= best.loss)
            was_halved = oscillates | is_stuck
            step_size = torch.where(was_halved, step_size / 2, step_size)
            now = _where(was_halved, best, now)
            loss_at_check, last_check = best.loss, step
            increases = torch.zeros_like(increases)
    return ApgdResult(best=best.x, fooling=fooling, is_fooled=is_fooled)


def _move(
    now: _Point,
    previous: Tensor,
    x: Tensor,
    threat: ThreatModel,
    step_size: Tensor,
    momentum: float,
) -> Tensor:
    step = _per_image(step_size) * ascent_direction(now.grad, threat)
    proposal = project(now.x + step, x, threat)
    mixed = now.x + momentum * (proposal - now.x) + (1 - momentum) * (now.x - previous)
    return project(mixed, x, threat)


def _measure(
    model: nn.Module, x_adv: Tensor, y: Tensor, loss: AttackLoss, *, needs_grad: bool
) -> _Point:
    """Runs the model once; `grad` is zero where the caller does not need it."""
    x_adv = x_adv.detach().requires_grad_(needs_grad)
    with torch.set_grad_enabled(needs_grad):
        logits = model(x_adv)  # (batch, classes)
        per_image = loss(logits)  # (batch,)
    if needs_grad:
        (grad,) = torch.autograd.grad(per_image.sum(), x_adv)
    else:
        grad = torch.zeros_like(x_adv)
    is_wrong = logits.detach().argmax(dim=1) != y
    return _Point(x=x_adv.detach(), loss=per_image.detach(), grad=grad, is_wrong=is_wrong)


def _where(condition: Tensor, this: _Point, other: _Point) -> _Point:
    mask = _per_image(condition)
    return _Point(
        x=torch.where(mask, this.x, other.x),
        loss=torch.where(condition, this.loss, other.loss),
        grad=torch.where(mask, this.grad, other.grad),
        is_wrong=torch.where(condition, this.is_wrong, other.is_wrong),
    )


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
