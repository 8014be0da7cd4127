"""Auto-PGD in lanes, for l1: sparse steps, in balls that may shrink to the one asked for."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.engine.lanes import Item, Lanes, Logits
from evaluation.engine.slope import LaneLoss, slope_at
from trainers.attacks.apgd_l1 import LEAST_STEP, SHRINKAGE, SPARSER, support_of
from trainers.attacks.iterate import per_image
from trainers.attacks.l1 import project_l1, sparse_direction
from trainers.attacks.start import random_start
from trainers.threat import ThreatModel

FIRST_SHARE = 0.2
"""Part of the pixels that the first steps from a random start move."""
BALLS = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radius in units of eps, and the share of the steps that are taken in it."""


class ApgdL1Lanes(Lanes):
    """APGD in l1; a call of `advance` is one gradient.

    Source: Croce and Hein 2021, arXiv:2103.01208, with the details of AutoAttack's code. An item
    takes `steps` calls and one more for each ball, for the start in it.
    """

    best: Float[Tensor, "lanes c h w"]
    """The iterate of the highest loss in the present ball."""
    best_loss: Float[Tensor, " lanes"]
    """The loss there."""

    def __init__(
        self,
        logits: Logits,
        threat: ThreatModel,
        *,
        lanes: int,
        shape: torch.Size,
        device: torch.device,
        passes: int,
    ) -> None:
        """`passes` gradients are averaged for each step."""
        super().__init__(logits, threat, lanes=lanes, shape=shape, device=device)
        self._passes = passes
        self._pixels = shape.numel()
        self._loss = LaneLoss(lanes=lanes, device=device)
        self._x_adv = torch.zeros_like(self.x)
        self.best = torch.zeros_like(self.x)
        self._best_grad = torch.zeros_like(self.x)
        self.best_loss = torch.zeros(lanes, device=device)
        self._support = torch.zeros(lanes, device=device)
        self._share = torch.zeros(lanes, device=device)
        self._step_size = torch.zeros(lanes, device=device)
        self._step = torch.zeros_like(self.y)
        self._ball = torch.zeros_like(self.y)
        self._radii = torch.ones(lanes, len(BALLS), device=device)
        self._counts = torch.ones(lanes, len(BALLS), dtype=torch.int64, device=device)

    def _begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        shrinks = items[0].stage.attack.shrinks
        balls = BALLS if shrinks else ((1.0, 1.0),)
        widest = ThreatModel(norm="l1", eps=balls[0][0] * self.threat.eps)
        start = random_start(self.x[rows], widest, seeds=[item.seed for item in items])
        self._loss.begin(rows, items)
        self._x_adv[rows] = start
        self._ball[rows] = len(BALLS) - len(balls)
        self._step[rows] = 0
        for place, (radius, _) in enumerate(balls, start=len(BALLS) - len(balls)):
            self._radii[rows, place] = radius * self.threat.eps
        counts = [_steps_in_balls(item.stage.attack.steps, shrinks=shrinks) for item in items]
        self._counts[rows] = torch.tensor(counts, device=rows.device)
        support = support_of(start, self.x[rows]) if shrinks else self._pixels
        self._support[rows] = support
        self._share[rows] = support / self._pixels / SHRINKAGE if shrinks else FIRST_SHARE
        self._step_size[rows] = balls[0][0] * self.threat.eps

    def advance(self) -> None:
        """Measures where each lane stands, then moves it, into the next ball where one is done."""
        now = slope_at(self.logits, self._x_adv, self.y, self._loss, passes=self._passes)
        ball = self._ball.clamp_max(len(BALLS) - 1)[:, None]
        radius, steps = (table.gather(1, ball) for table in (self._radii, self._counts))
        is_start = self._step == 0
        is_claim = now.is_wrong & (self._ball == len(BALLS) - 1) & ~self.is_finished
        self._claim(self._x_adv, is_claim, self._steps_before())
        is_better = is_start | (now.loss > self.best_loss)
        self.best = torch.where(per_image(is_better), self._x_adv, self.best)
        self._best_grad = torch.where(per_image(is_better), now.grad, self._best_grad)
        self.best_loss = torch.where(is_better, now.loss, self.best_loss)
        is_sparser = self._reconsider(radius.squeeze(1), steps.squeeze(1)) & ~is_start
        x_adv = torch.where(per_image(is_sparser), self.best, self._x_adv)
        grad = torch.where(per_image(is_sparser), self._best_grad, now.grad)
        stride = per_image(self._step_size) * sparse_direction(grad, self._share)
        moved = project_l1(x_adv + stride, self.x, radius)
        self._move_on(moved, self._step >= steps.squeeze(1))

    def _reconsider(self, radius: Tensor, steps: Tensor) -> Tensor:
        """Sets step sizes and shares where it is time, and returns who goes back to the best."""
        interval = (steps * 4 // 100).clamp_min(1)  # whole numbers: 0.04 x 25 rounds to 1.0
        is_check = (self._step > 0) & (self._step % interval == 0)
        support = support_of(self.best, self.x)
        is_sparser = support / self._support < SPARSER
        step_size = torch.where(is_sparser, radius, self._step_size / SHRINKAGE)
        step_size = torch.maximum(step_size, LEAST_STEP * radius)
        self._step_size = torch.where(is_check, step_size, self._step_size)
        self._share = torch.where(is_check, support / self._pixels / SHRINKAGE, self._share)
        self._support = torch.where(is_check, support, self._support)
        return is_check & is_sparser

    def _move_on(self, moved: Tensor, is_over: Tensor) -> None:
        """Takes the lanes whose ball is done from their best point to the next ball."""
        self.is_finished = self.is_finished | (is_over & (self._ball == len(BALLS) - 1))
        self._ball = self._ball + is_over
        radius = self._radii.gather(1, self._ball.clamp_max(len(BALLS) - 1)[:, None])
        start = project_l1(self.best, self.x, radius)
        support = support_of(start, self.x)
        self._x_adv = torch.where(per_image(is_over), start, moved)
        self._support = torch.where(is_over, support, self._support)
        self._share = torch.where(is_over, support / self._pixels / SHRINKAGE, self._share)
        self._step_size = torch.where(is_over, radius.squeeze(1), self._step_size)
        self._step = torch.where(is_over, 0, self._step + 1)

    def _steps_before(self) -> Tensor:
        """Returns the steps that each lane has taken, in all its balls."""
        places = torch.arange(len(BALLS), device=self.y.device)
        earlier = torch.where(places < self._ball[:, None], self._counts, 0).sum(dim=1)
        return earlier + self._step


def _steps_in_balls(steps: int, *, shrinks: bool) -> list[int]:
    if not shrinks:
        return [0] * (len(BALLS) - 1) + [steps]
    first, second = (-(-int(share * 10) * steps // 10) for _, share in BALLS[:2])
    return [first, second, steps - first - second]
