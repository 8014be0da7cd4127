"""The second look: whoever made an adversarial image, it is measured again here."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainers.threat import ThreatModel

ROUNDING = 1e-5
"""Slack of the ball relative to eps, plus `ROUNDING / 100`: float32 cannot hold x + eps exactly."""
L1_ROUNDING = 2e-3
"""In l1 the reference package's projection leaves the ball by up to 8e-4 of eps at 224 pixels."""
ORDER = {"linf": float("inf"), "l2": 2.0, "l1": 1.0}
TIE = 1e-4
"""A margin below this fraction of the largest logit is a tie. FAB stops at the boundary, and the
same image falls on either side of it when it is computed in a batch of another size."""


def verify_adversarial(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    x_adv: Float[Tensor, "batch c h w"],
    y: Int[Tensor, " batch"],
    threat: ThreatModel,
) -> Float[Tensor, " batch"]:
    """Measures images that an attack claims to be adversarial; shares no code with any attack.

    Args:
        model: Must be in eval mode.

    Returns:
        The norm of each perturbation, in the norm of `threat`.

    Raises:
        RuntimeError: If an image is not float32, leaves the ball or the box, or is classified
            correctly by more than a tie.
    """
    norms, logits = inspect_adversarial(model, x, x_adv, threat)
    relative = margins_of(logits, y) / logits.abs().amax(dim=1).clamp_min(1e-12)
    _refuse(~(relative <= TIE), relative, "still classified correctly")
    return norms


def inspect_adversarial(
    model: nn.Module,
    x: Float[Tensor, "batch c h w"],
    x_adv: Float[Tensor, "batch c h w"],
    threat: ThreatModel,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch classes"]]:
    """Measures images that may be adversarial; shares no code with any attack.

    Args:
        model: Must be in eval mode.

    Returns:
        The norm of each perturbation, in the norm of `threat`, and the logits of each image.

    Raises:
        RuntimeError: If an image is not float32, or leaves the ball or the box.
    """
    return _norms_inside(model, x, x_adv, threat), _logits(model, x_adv)


def margins_of(
    logits: Float[Tensor, "batch classes"], y: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Returns the logit of `y` minus the best other one, negative where the model is wrong."""
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(dim=1)
    return logits.gather(1, y.unsqueeze(1)).squeeze(1) - others


def perturbation_norms(
    delta: Float[Tensor, "batch c h w"], threat: ThreatModel
) -> Float[Tensor, " batch"]:
    """Returns the length of each perturbation in the norm of `threat`."""
    return torch.linalg.vector_norm(delta.flatten(1), ord=ORDER[threat.norm], dim=1)


def _norms_inside(model: nn.Module, x: Tensor, x_adv: Tensor, threat: ThreatModel) -> Tensor:
    if model.training:
        raise RuntimeError("adversarial images are measured in eval mode, and this model trains")
    if x_adv.dtype != torch.float32:
        raise RuntimeError(f"an adversarial image must be float32, got {x_adv.dtype}")
    norms = perturbation_norms(x_adv - x, threat)
    slack = L1_ROUNDING if threat.norm == "l1" else ROUNDING
    # Written as "not inside", so that NaN counts as outside.
    _refuse(~(norms <= threat.eps * (1 + slack) + ROUNDING / 100), norms, f"outside {threat}")
    pixels = x_adv.flatten(1)
    is_in_box = (pixels >= 0).all(dim=1) & (pixels <= 1).all(dim=1)
    _refuse(~is_in_box, pixels.abs().amax(dim=1), "outside the pixel box [0, 1]")
    return norms


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


def _refuse(is_wrong: Tensor, measured: Tensor, what: str) -> None:
    if bool(is_wrong.any()):
        worst = float(measured[is_wrong].max())
        raise RuntimeError(
            f"{int(is_wrong.sum())} of {len(is_wrong)} images that an attack claims to be "
            f"adversarial are {what} (measured {worst:.8g}): the attack is broken"
        )
