"""The slope of an attack's loss in the image: one forward and one backward to the input."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.attacks.losses import AttackLoss


def input_gradient(
    model: nn.Module, x: Float[Tensor, "batch c h w"], loss: AttackLoss
) -> Float[Tensor, "batch c h w"]:
    """Returns the gradient of each image's loss at `x`, detached."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(model(x)).sum()
    (grad,) = torch.autograd.grad(total, x)
    return grad
