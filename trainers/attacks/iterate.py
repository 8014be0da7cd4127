"""What Auto-PGD knows while it climbs, whatever the norm; choices per image are torch.where."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.attacks.losses import AttackLoss


@dataclass(frozen=True, kw_only=True)
class Iterate:
    """One point for each image, with all that was measured there."""

    x: Tensor
    loss: Tensor
    grad: Tensor
    is_wrong: Tensor


@dataclass(frozen=True, kw_only=True)
class Record:
    """The best that a climb has met so far."""

    best: Iterate
    """The iterate of the highest loss."""
    fooling: Tensor
    """The latest misclassified images; the first ones where none is misclassified."""
    is_fooled: Tensor


def measure(
    model: nn.Module, x_adv: Tensor, y: Tensor, loss: AttackLoss, *, needs_grad: bool
) -> Iterate:
    """Runs the model once; `grad` is zero where the caller does not need it."""
    x_adv = x_adv.detach().requires_grad_(needs_grad)
    with torch.set_grad_enabled(needs_grad):
        logits = model(x_adv)  # (batch, classes)
        losses = loss(logits)  # (batch,)
    if needs_grad:
        (grad,) = torch.autograd.grad(losses.sum(), x_adv)
    else:
        grad = torch.zeros_like(x_adv)
    is_wrong = logits.detach().argmax(dim=1) != y
    return Iterate(x=x_adv.detach(), loss=losses.detach(), grad=grad, is_wrong=is_wrong)


def first_record(now: Iterate) -> Record:
    """Returns the record of a climb that begins at `now`."""
    return Record(best=now, fooling=now.x, is_fooled=now.is_wrong)


def update_record(record: Record, now: Iterate) -> Record:
    """Returns the record after the climb has reached `now`."""
    return Record(
        best=choose(now.loss > record.best.loss, now, record.best),
        fooling=torch.where(per_image(now.is_wrong), now.x, record.fooling),
        is_fooled=record.is_fooled | now.is_wrong,
    )


def choose(condition: Tensor, this: Iterate, other: Iterate) -> Iterate:
    """Returns `this` for the images where `condition` holds and `other` for the rest."""
    mask = per_image(condition)
    return Iterate(
        x=torch.where(mask, this.x, other.x),
        loss=torch.where(condition, this.loss, other.loss),
        grad=torch.where(mask, this.grad, other.grad),
        is_wrong=torch.where(condition, this.is_wrong, other.is_wrong),
    )


def per_image(values: Tensor) -> Tensor:
    """Returns `values`, one per image, in a shape that acts on images."""
    return values.view(-1, 1, 1, 1)
