"""Classes that a targeted attack aims at; never the label."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trainers.attacks.mode import attack_mode


def random_targets(
    y: Int[Tensor, " batch"], *, num_classes: int, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    """Draws each target uniformly from the classes other than the label.

    Args:
        generator: On the device of `y`.

    Raises:
        ValueError: If there is no other class.
    """
    if num_classes < 2:
        raise ValueError(f"a target needs num_classes >= 2, got {num_classes=}; take target=none")
    ahead = torch.empty_like(y).random_(1, num_classes, generator=generator)
    return (y + ahead) % num_classes


def least_likely_targets(
    model: nn.Module, x: Float[Tensor, "batch c h w"], y: Int[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Returns the class of the lowest logit other than the label; costs one forward.

    Args:
        model: Maps images in [0, 1] to logits; asked in eval mode, left as it was.

    Source: Kurakin et al. 2017, arXiv:1607.02533, sec. 2.3.
    """
    with attack_mode(model), torch.no_grad():
        logits = model(x)  # (batch, classes)
    return logits.scatter(1, y.unsqueeze(1), torch.inf).argmin(dim=1)
