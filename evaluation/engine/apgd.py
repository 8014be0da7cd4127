"""Auto-PGD in lanes, for linf and l2: `trainers.attacks.apgd` with a clock in every lane."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from evaluation.engine.lanes import Item, Lanes, Logits
from evaluation.engine.slope import LaneLoss, slope_at
from trainers.attacks.apgd import MOMENTUM, RHO, checkpoints, move
from trainers.attacks.iterate import per_image
from trainers.attacks.start import random_start
from trainers.threat import ThreatModel


class ApgdLanes(Lanes):
    """APGD on cross-entropy, DLR or targeted DLR; a call of `advance` is one gradient.

    Source: Croce and Hein 2020, arXiv:2003.01690, alg. 1, with the details of AutoAttack's code.
    An item takes `steps + 1` calls, the first of them for its random start.
    """

    best: Float[Tensor, "lanes c h w"]
    """The iterate of the highest loss, the start included."""
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
        self._loss = LaneLoss(lanes=lanes, device=device)
        self._x_adv = torch.zeros_like(self.x)
        self._previous = torch.zeros_like(self.x)
        self.best = torch.zeros_like(self.x)
        self._best_grad = torch.zeros_like(self.x)
        self.best_loss = torch.zeros(lanes, device=device)
        self._last_loss = torch.zeros(lanes, device=device)
        self._loss_at_check = torch.zeros(lanes, device=device)
        self._step_size = torch.zeros(lanes, device=device)
        self._increases = torch.zeros_like(self.y)
        self._was_halved = torch.ones_like(self.is_fooled)
        self._step = torch.zeros_like(self.y)
        self._steps = torch.zeros_like(self.y)
        self._last_check = torch.zeros_like(self.y)
        self._is_check = torch.zeros(lanes, 1, dtype=torch.bool, device=device)  # (lanes, steps)

    def _begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        start = random_start(self.x[rows], self.threat, seeds=[item.seed for item in items])
        self._loss.begin(rows, items)
        self._x_adv[rows], self._previous[rows] = start, start
        self._step_size[rows] = 2 * self.threat.eps
        # AutoAttack compares the first step's loss with 0, not with the start's.
        self._last_loss[rows] = 0
        self._increases[rows] = 0
        self._was_halved[rows] = True
        self._step[rows] = 0
        self._last_check[rows] = 0
        steps = [item.stage.attack.steps for item in items]
        self._steps[rows] = torch.tensor(steps, device=rows.device)
        self._is_check = _with_columns(self._is_check, max(steps) + 1)
        self._is_check[rows] = _check_table(steps, self._is_check.shape[1]).to(rows.device)

    def advance(self) -> None:
        """Measures where each lane stands, then moves it."""
        now = slope_at(self.logits, self._x_adv, self.y, self._loss, passes=self._passes)
        is_start = self._step == 0
        self._claim(self._x_adv, now.is_wrong & ~self.is_finished, self._step)
        is_better = is_start | (now.loss > self.best_loss)
        self.best = torch.where(per_image(is_better), self._x_adv, self.best)
        self._best_grad = torch.where(per_image(is_better), now.grad, self._best_grad)
        self.best_loss = torch.where(is_better, now.loss, self.best_loss)
        self._loss_at_check = torch.where(is_start, now.loss, self._loss_at_check)
        self._increases += ~is_start & (now.loss > self._last_loss)
        self._last_loss = torch.where(is_start, self._last_loss, now.loss)
        is_halved = self._reconsider()
        x_adv = torch.where(per_image(is_halved), self.best, self._x_adv)
        grad = torch.where(per_image(is_halved), self._best_grad, now.grad)
        momentum = torch.where(is_start, 1.0, MOMENTUM)
        step_size = per_image(self._step_size)
        self._x_adv = move(
            x_adv, grad, self._previous, self.x, self.threat, step_size, per_image(momentum)
        )
        self._previous = x_adv
        self.is_finished = self._step >= self._steps
        self._step = self._step + 1

    def _reconsider(self) -> Tensor:
        """Halves step sizes at the checkpoints, and returns whose."""
        is_check = self._is_check.gather(
            1, self._step.clamp_max(self._is_check.shape[1] - 1)[:, None]
        )
        is_check = is_check.squeeze(1)
        oscillates = self._increases <= RHO * (self._step - self._last_check)
        is_stuck = ~self._was_halved & (self._loss_at_check >= self.best_loss)
        is_halved = is_check & (oscillates | is_stuck)
        self._was_halved = torch.where(is_check, is_halved, self._was_halved)
        self._step_size = torch.where(is_halved, self._step_size / 2, self._step_size)
        self._loss_at_check = torch.where(is_check, self.best_loss, self._loss_at_check)
        self._last_check = torch.where(is_check, self._step, self._last_check)
        self._increases = torch.where(is_check, 0, self._increases)
        return is_halved


def _with_columns(table: Tensor, columns: int) -> Tensor:
    """Returns `table`, wider if it has fewer than `columns`."""
    missing = columns - table.shape[1]
    return torch.nn.functional.pad(table, (0, missing)) if missing > 0 else table


def _check_table(steps: Sequence[int], columns: int) -> Tensor:
    """Returns for each item at which of its steps, (items, columns), its step size is checked."""
    table = torch.zeros(len(steps), columns, dtype=torch.bool)
    for row, count in enumerate(steps):
        table[row, list(checkpoints(count))] = True
    return table
