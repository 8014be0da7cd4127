"""Projected gradient ascent with a random start: the last iterate is the adversarial image."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainers.attacks.losses import cross_entropy
from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import ascent_direction, l2_norms, project
from trainers.threat import ThreatModel


def pgd(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    y: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    threat: ThreatModel,
    *,
    steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch c h w"]:
    """Maximises cross-entropy by projected gradient ascent (Madry et al. 2018, arXiv:1706.06083).

    Args:
        model: Maps images in [0, 1] to logits; attacked in eval mode, left as it was.
        y: Hard labels, or soft ones as the loss of training sees them.
        step_size: Length of one step in the geometry of `threat.norm`, on the pixel scale.
        generator: Source of the random start, on the device of `x`.

    Returns:
        `x_adv` inside `threat`, detached. Costs `steps` forwards and input gradients.

    Raises:
        ValueError: If `steps < 1`.
    """
    if steps < 1:
        raise ValueError(f"pgd needs steps >= 1 (1 is FGSM with a random start), got {steps=}")
    x_adv = project(x + _noise(x, threat, generator), x, threat)
    with attack_mode(model), torch.enable_grad():
        for _ in range(steps):
            x_adv = x_adv.detach().requires_grad_()
            loss = cross_entropy(model(x_adv), y).sum()
            (grad,) = torch.autograd.grad(loss, x_adv)
            step = step_size * ascent_direction(grad, threat)
            x_adv = project(x_adv.detach() + step, x, threat)
    return x_adv


def _noise(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Draws uniformly in the linf ball, or on the surface of the l2 ball."""
    if threat.norm == "linf":
        return torch.empty_like(x).uniform_(-threat.eps, threat.eps, generator=generator)
    direction = torch.empty_like(x).normal_(generator=generator)
    return threat.eps * direction / (l2_norms(direction) + 1e-12)
