"""Loss and input gradient in every lane, where each lane has a loss of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evaluation.engine.lanes import Item, Logits
from trainers.attacks.losses import cross_entropy, dlr, targeted_dlr

CE, DLR, TARGETED = range(3)
KINDS = {"apgd-ce": CE, "apgd-dlr": DLR, "apgd-t": TARGETED}


class LaneLoss:
    """Which loss each lane climbs; the losses that no lane has ever had are not computed."""

    def __init__(self, *, lanes: int, device: torch.device) -> None:
        """Every lane begins with cross-entropy."""
        self._kind = torch.zeros(lanes, dtype=torch.int64, device=device)
        self._target = torch.zeros_like(self._kind)
        self._used: set[int] = set()

    def begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        """Sets the losses of `rows`."""
        kinds = [KINDS[item.stage.attack.name] for item in items]
        self._used.update(kinds)
        self._kind[rows] = torch.tensor(kinds, device=rows.device)
        targets = [max(item.target, 0) for item in items]
        self._target[rows] = torch.tensor(targets, device=rows.device)

    def __call__(self, logits: Tensor, y: Tensor) -> Tensor:
        """Returns one number per lane, (lanes,)."""
        losses = [(kind, self._loss(kind, logits, y)) for kind in sorted(self._used)]
        total = losses[0][1]
        for kind, loss in losses[1:]:
            total = torch.where(self._kind == kind, loss, total)
        return total

    def _loss(self, kind: int, logits: Tensor, y: Tensor) -> Tensor:
        if kind == CE:
            return cross_entropy(logits, y)
        return dlr(logits, y) if kind == DLR else targeted_dlr(logits, y, self._target)


@dataclass(frozen=True, kw_only=True)
class Slope:
    """What was measured at one iterate of every lane."""

    loss: Tensor
    grad: Tensor
    is_wrong: Tensor


def slope_at(logits: Logits, x_adv: Tensor, y: Tensor, loss: LaneLoss, *, passes: int) -> Slope:
    """Runs the model and its input gradient `passes` times.

    The gradient is the mean over the passes; loss and prediction are those of the last one, as in
    AutoAttack.
    """
    x_adv = x_adv.detach().requires_grad_()
    now = _slope(logits, x_adv, y, loss)
    grad = now.grad / passes
    for _ in range(passes - 1):
        now = _slope(logits, x_adv, y, loss)
        grad = grad + now.grad / passes
    return replace(now, grad=grad)


def _slope(logits: Logits, x_adv: Tensor, y: Tensor, loss: LaneLoss) -> Slope:
    with torch.enable_grad():
        scores = logits(x_adv)  # (lanes, classes)
        losses = loss(scores, y)
        (grad,) = torch.autograd.grad(losses.sum(), x_adv)
    is_wrong = scores.detach().argmax(dim=1) != y
    return Slope(loss=losses.detach(), grad=grad, is_wrong=is_wrong)
