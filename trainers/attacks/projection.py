"""The geometry of a threat model: where an attack may go, and which way is up.

Points, not perturbations: `x_adv` in, `x_adv` out, as in AutoAttack, so that no rounding is added.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from trainers.attacks.l1 import project_l1, sparse_direction
from trainers.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Ball:
    """A threat model whose radius a schedule moves: a compiled attack sees `eps` as an input."""

    norm: Literal["linf", "l2", "l1"]
    eps: float | Tensor
    """A number, or a 0-d tensor on the device of the images."""


Threat = ThreatModel | Ball

L1_SHARE = 0.1


def project(
    x_adv: Float[Tensor, "batch c h w"], x: Float[Tensor, "batch c h w"], threat: Threat
) -> Float[Tensor, "batch c h w"]:
    """Moves `x_adv` to the nearest point of the ball around `x`, then into [0, 1].

    The box comes last because it only moves pixels towards `x`, so the ball still holds. For
    `linf` this is the exact projection on both sets; for `l2` a feasible point. For `l1` the cut
    would leave much of the budget unspent, so there the nearest point of both sets is found.
    """
    if threat.norm == "linf":
        return x_adv.clamp(x - threat.eps, x + threat.eps).clamp(0, 1)
    if threat.norm == "l1":
        return project_l1(x_adv, x, threat.eps)
    delta = x_adv - x
    norms = l2_norms(delta).clamp_min(1e-12)  # zero delta stays zero
    return (x + delta * (threat.eps / norms).clamp(max=1.0)).clamp(0, 1)


def ascent_direction(
    grad: Float[Tensor, "batch c h w"], threat: Threat
) -> Float[Tensor, "batch c h w"]:
    """Returns an ascent of unit length in the norm of `threat`; zero where `grad` is.

    The steepest one for `linf` and `l2`. In `l1` that would be a single pixel, so the step is
    shared evenly by the largest tenth, as in the code of Singh et al. 2023, arXiv:2303.01870.
    """
    if threat.norm == "linf":
        return grad.sign()
    if threat.norm == "l1":
        return sparse_direction(grad, torch.full_like(grad[:, 0, 0, 0], L1_SHARE))
    return grad / (l2_norms(grad) + 1e-12)


def l2_norms(delta: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch 1 1 1"]:
    """Returns the Euclidean length of each image."""
    return delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
