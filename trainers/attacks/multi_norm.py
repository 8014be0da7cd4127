"""Attacks on a union of threat models: each image keeps the candidate of the highest loss."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import AttackLoss
from trainers.attacks.mode import attack_mode
from trainers.attacks.projection import Threat, ascent_direction, project


def worst_of(
    model: nn.Module, x_advs: Sequence[Float[Tensor, "batch c h w"]], *, loss: AttackLoss
) -> Float[Tensor, "batch c h w"]:
    """Returns for each image the candidate of the highest loss, the first of equals.

    Costs one forward per candidate.

    Raises:
        ValueError: If there is no candidate.
    Source: the MAX strategy of Tramer and Boneh 2019, arXiv:1904.13000.
    """
    if not x_advs:
        raise ValueError("worst_of needs at least 1 candidate, got 0; attack with a threat first")
    with attack_mode(model):
        return _worst(model, x_advs, loss)


def msd(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    threats: Sequence[Threat],
    *,
    steps: int,
    reach: float,
    loss: AttackLoss,
    start: Float[Tensor, "batch c h w"],
) -> Float[Tensor, "batch c h w"]:
    """Maximises `loss` by multi steepest descent: each step goes where the loss is highest.

    Args:
        model: Maps images in [0, 1] to logits; attacked in eval mode, left as it was.
        reach: Length of all steps together in units of each threat's eps.
        start: Where the first gradient is taken, as given.

    Returns:
        `x_adv` inside at least one of `threats`, detached. Costs `steps` input gradients and
        `steps * (1 + len(threats))` forwards.

    Raises:
        ValueError: If `steps < 1` or there is no threat.
    Source: Maini et al. 2020, arXiv:1909.04068, alg. 1; the l1 step is `ascent_direction`'s.
    """
    if steps < 1:
        raise ValueError(f"msd needs steps >= 1, got {steps=}; for clean images do not attack")
    if not threats:
        raise ValueError("msd needs at least 1 threat, got 0; name the norms to be united")
    x_adv = start
    with attack_mode(model):
        for _ in range(steps):
            grad = input_gradient(model, x_adv, loss)
            candidates = [
                project(x_adv + reach * t.eps / steps * ascent_direction(grad, t), x, t)
                for t in threats
            ]
            x_adv = _worst(model, candidates, loss)
    return x_adv.detach()


def _worst(model: nn.Module, x_advs: Sequence[Tensor], loss: AttackLoss) -> Tensor:
    with torch.no_grad():
        worst, highest = x_advs[0], loss(model(x_advs[0]))
        for x_adv in x_advs[1:]:
            losses = loss(model(x_adv))
            is_higher = losses > highest
            worst = torch.where(is_higher.view(-1, 1, 1, 1), x_adv, worst)
            highest = torch.where(is_higher, losses, highest)
    return worst
