"""Auto-PGD in l1: sparse steps, whose number of pixels follows that of the best iterate."""

import torch
from torch import Tensor, nn

from trainers.attacks.iterate import (
    Record,
    choose,
    first_record,
    measure,
    per_image,
    update_record,
)
from trainers.attacks.l1 import project_l1, sparse_direction
from trainers.attacks.losses import AttackLoss

FIRST_SHARE = 0.05
"""Part of the pixels that the first steps from the clean image move."""
SHRINKAGE = 1.5
"""Divides the step size, and the support of the best iterate to get that of the next steps."""
SPARSER = 0.95
LEAST_STEP = 0.1
"""Smallest step size in units of eps."""


def climb_l1(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    steps: int,
    loss: AttackLoss,
    start: Tensor | None,
) -> Record:
    """Maximises `loss` in the l1 ball; costs `steps + 1` forwards and `steps` input gradients.

    Args:
        start: First iterate, whose support sets that of the first steps; None starts at `x`.

    Source: Croce and Hein 2021, arXiv:2103.01208, with the details of AutoAttack's code, but for
    the schedule of larger eps. From `x` itself the first share is that of Singh et al. 2023,
    arXiv:2303.01870, in training.
    """
    now = measure(model, x if start is None else start, y, loss, needs_grad=True)
    record = first_record(now)
    pixels = x[0].numel()
    if start is None:
        support = torch.ones_like(now.loss) * pixels
        share = torch.ones_like(now.loss) * FIRST_SHARE
    else:
        support = support_of(now.x, x)
        share = support / pixels / SHRINKAGE
    step_size = torch.ones_like(now.loss) * eps
    interval = max(int(0.04 * steps), 1)
    for step in range(1, steps + 1):
        stride = per_image(step_size) * sparse_direction(now.grad, share)
        x_next = project_l1(now.x + stride, x, eps)
        now = measure(model, x_next, y, loss, needs_grad=step < steps)
        record = update_record(record, now)
        if step % interval == 0:
            last_support, support = support, support_of(record.best.x, x)
            is_sparser = support / last_support < SPARSER
            share = support / pixels / SHRINKAGE
            step_size = torch.where(is_sparser, eps, step_size / SHRINKAGE)
            step_size = step_size.clamp_min(LEAST_STEP * eps)
            now = choose(is_sparser, record.best, now)
    return record


def support_of(x_adv: Tensor, x: Tensor) -> Tensor:
    """Counts the entries of each image that differ from the clean one, (batch,)."""
    return (x_adv != x).flatten(1).sum(dim=1).to(x.dtype)
