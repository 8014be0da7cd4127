"""Projected gradient ascent: the last iterate is the adversarial image."""

from jaxtyping import Float
from torch import Tensor, nn

from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import AttackLoss
from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import Threat, ascent_direction, project


def pgd(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    threat: Threat,
    *,
    steps: int,
    step_size: float | Tensor,
    loss: AttackLoss,
    start: Float[Tensor, "batch c h w"],
) -> Float[Tensor, "batch c h w"]:
    """Maximises `loss` by projected gradient ascent (Madry et al. 2018, arXiv:1706.06083).

    Args:
        model: Maps images in [0, 1] to logits; attacked in eval mode, left as it was.
        step_size: Length of one step in the geometry of `threat.norm`, on the pixel scale.
        start: Put into `threat` before the first step.

    Returns:
        `x_adv` inside `threat`, detached. Costs `steps` forwards and input gradients.

    Raises:
        ValueError: If `steps < 1`.
    """
    if steps < 1:
        raise ValueError(f"pgd needs steps >= 1, got {steps=}; for clean images do not attack")
    x_adv = project(start, x, threat)
    with attack_mode(model):
        for _ in range(steps):
            grad = input_gradient(model, x_adv, loss)
            x_adv = project(x_adv + step_size * ascent_direction(grad, threat), x, threat)
    return x_adv.detach()
