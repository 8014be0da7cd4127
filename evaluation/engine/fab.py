"""Targeted FAB in lanes: steps onto the linearised boundary towards one class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from evaluation.engine.fab_projection import lengths, step_onto_plane
from evaluation.engine.lanes import Item, Lanes, Logits
from trainers.attacks.iterate import per_image
from trainers.threat import ThreatModel

MOST_BIAS = 0.1
"""Largest weight of the step from the clean image: alpha_max."""
OVERSHOOT = 1.05
"""Factor of the steps, so that they cross the boundary: eta."""
PULL_BACK = 0.9
"""What an adversarial iterate keeps of its perturbation: beta."""


class FabLanes(Lanes):
    """FAB-T without random start; a call of `advance` is one gradient and two forwards.

    FAB looks for the nearest adversarial image, in which the model may say any wrong class. An item
    is done as soon as one is within eps, which is all that AutoAttack asks of the nearest.

    Source: Croce and Hein 2020, arXiv:1907.02044, alg. 1, with the constants of AutoAttack's code.
    """

    def __init__(
        self,
        logits: Logits,
        threat: ThreatModel,
        *,
        lanes: int,
        shape: torch.Size,
        device: torch.device,
    ) -> None:
        """`shape` is that of an image, (c, h, w)."""
        super().__init__(logits, threat, lanes=lanes, shape=shape, device=device)
        self._x_adv = torch.zeros_like(self.x)
        self._target = torch.zeros_like(self.y)
        self._step = torch.zeros_like(self.y)
        self._steps = torch.zeros_like(self.y)

    def _begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        self._x_adv[rows] = self.x[rows]
        self._target[rows] = torch.tensor([item.target for item in items], device=rows.device)
        self._step[rows] = 0
        steps = [item.stage.attack.steps for item in items]
        self._steps[rows] = torch.tensor(steps, device=rows.device)

    @torch.no_grad()
    def advance(self) -> None:
        """Moves each lane across the boundary, and back towards its image where that succeeded."""
        x_adv = self._cross(*self._margin_and_slope())
        delta = x_adv - self.x
        is_wrong = self.logits(x_adv).argmax(dim=1) != self.y
        is_inside = lengths(delta.flatten(1), norm=self.threat.norm) <= self.threat.eps
        self._step = self._step + 1
        self._claim(x_adv, is_wrong & is_inside & ~self.is_finished, self._step)
        self._x_adv = torch.where(per_image(is_wrong), self.x + PULL_BACK * delta, x_adv)
        self.is_finished = self._step >= self._steps

    def _margin_and_slope(self) -> tuple[Tensor, Tensor]:
        """Returns the logit of the target minus that of the label, and its gradient."""
        x_adv = self._x_adv.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(x_adv)  # (lanes, classes)
            wanted = logits.gather(1, torch.stack((self._target, self.y), dim=1))
            margin = wanted[:, 0] - wanted[:, 1]
            (slope,) = torch.autograd.grad(margin.sum(), x_adv)
        return margin.detach(), slope

    def _cross(self, margin: Tensor, slope: Tensor) -> Tensor:
        """Returns the next iterates, from steps of the last ones and of the clean images."""
        slope = slope.flatten(1)  # (lanes, pixels)
        points = torch.stack((self._x_adv, self.x)).flatten(2)  # (2, lanes, pixels)
        clean_margin = margin + (slope * (points[1] - points[0])).sum(dim=1)
        gaps = torch.stack((margin, clean_margin))  # (2, lanes)
        steps = step_onto_plane(points, slope, gaps, norm=self.threat.norm)
        last, clean = lengths(steps, norm=self.threat.norm).clamp_min(1e-8)
        bias = (last / (last + clean)).clamp_max(MOST_BIAS).unsqueeze(1)
        last, clean = points + OVERSHOOT * steps
        return torch.lerp(last, clean, bias).clamp(0, 1).view_as(self.x)
