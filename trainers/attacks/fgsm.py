"""One long step of ascent: RS-FGSM inside the ball, N-FGSM out of it."""

from jaxtyping import Float
from torch import Tensor, nn

from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import AttackLoss
from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import Threat, ascent_direction, project


def fgsm(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    threat: Threat,
    *,
    step_size: float | Tensor,
    loss: AttackLoss,
    start: Float[Tensor, "batch c h w"],
    is_projected: bool,
) -> Float[Tensor, "batch c h w"]:
    """Takes one step up `loss` from `start`; costs one forward and one input gradient.

    Args:
        model: Maps images in [0, 1] to logits; attacked in eval mode, left as it was.
        step_size: Length of the step in the geometry of `threat.norm`, on the pixel scale.
        start: Where the gradient is taken, as given: for N-FGSM it may lie outside the ball.
        is_projected: Whether the result is put into `threat`. False is N-FGSM, at most
            `step_size` from `start`.

    Returns:
        `x_adv` inside [0, 1], detached.

    Source: Wong et al. 2020, arXiv:2001.03994, alg. 3 (RS-FGSM, projected); de Jorge et al. 2022,
    arXiv:2202.01181 (N-FGSM), which does not clip to the box: here no image leaves [0, 1].
    """
    with attack_mode(model):
        grad = input_gradient(model, start, loss)
    x_adv = start + step_size * ascent_direction(grad, threat)
    return (project(x_adv, x, threat) if is_projected else x_adv.clamp(0, 1)).detach()
