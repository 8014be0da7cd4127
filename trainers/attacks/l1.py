"""The geometry of the l1 ball in the pixel box: the nearest point of both, and sparse steps."""

import torch
from jaxtyping import Float
from torch import Tensor

BISECTIONS = 20
"""Halvings of the bracket of the threshold; after 16 more of them no longer change the result."""


def project_l1(
    x_adv: Float[Tensor, "batch c h w"], x: Float[Tensor, "batch c h w"], eps: float | Tensor
) -> Float[Tensor, "batch c h w"]:
    """Moves `x_adv` to the nearest point of the l1 ball around `x` and of [0, 1] together.

    The nearest point shortens each entry of `x_adv - x` by one threshold per image and cuts it at
    the room that the box leaves. Costs `BISECTIONS` + 3 passes over the batch, no sort and no wait
    for the device. Within 2e-7 per pixel of the exact point at 3x224x224 (AutoAttack's: 2e-4).

    Args:
        x: Inside [0, 1].
        eps: Radius, a number or a 0-d tensor.

    Returns:
        A point inside [0, 1], and inside the ball up to rounding: 1e-6 eps + 1e-7.

    Source: the problem is that of Croce and Hein 2021, arXiv:2103.01208; they sort the points
    where the sum bends, two per pixel, here the threshold is bisected and then solved for.
    """
    delta = x_adv - x
    size = delta.abs().flatten(1)  # (batch, pixels)
    room = torch.where(delta > 0, 1 - x, x).flatten(1)
    kept = _cut(size, room, _threshold(size, room, eps))
    return x + delta.sign() * kept.view_as(x)


def sparse_direction(
    grad: Float[Tensor, "batch c h w"], share: Float[Tensor, " batch"]
) -> Float[Tensor, "batch c h w"]:
    """Returns the signs of the largest entries, of unit l1 length; zero where `grad` is.

    Args:
        share: Part of the entries of each image that is kept, ties included; at least one is.

    Source: APGD in l1 of Croce and Hein 2021, arXiv:2103.01208, with AutoAttack's rounding.
    """
    size = grad.abs().flatten(1)  # (batch, pixels)
    pixels = size.shape[1]
    smallest = ((1 - share) * pixels).clamp(0, pixels - 1).long().unsqueeze(1)  # (batch, 1)
    threshold = size.sort(dim=1).values.gather(1, smallest)
    signs = torch.where(size >= threshold, grad.flatten(1).sign(), 0)
    count = signs.abs().sum(dim=1, keepdim=True)
    return (signs / (count + 1e-10)).view_as(grad)


def _threshold(size: Tensor, room: Tensor, eps: float | Tensor) -> Tensor:
    """Returns the least threshold, (batch, 1), at which the kept sizes sum to at most `eps`.

    The sum falls piecewise linearly: bisection finds the piece, and the entries that are neither
    zero nor cut by the box give its slope.
    """
    low, high = torch.zeros_like(size[:, :1]), size.amax(dim=1, keepdim=True)
    is_inside = _spent(size, room, low) <= eps
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        is_over = _spent(size, room, middle) > eps
        low, high = torch.where(is_over, middle, low), torch.where(is_over, high, middle)
    middle = (low + high) / 2
    is_sloping = (size > middle) & (size - room < middle)
    slope = is_sloping.sum(dim=1, keepdim=True).clamp_min(1)
    solved = high - (eps - _spent(size, room, high)) / slope
    return torch.where(is_inside, 0, torch.maximum(solved, low))


def _spent(size: Tensor, room: Tensor, threshold: Tensor) -> Tensor:
    return _cut(size, room, threshold).sum(dim=1, keepdim=True)


def _cut(size: Tensor, room: Tensor, threshold: Tensor) -> Tensor:
    return torch.minimum((size - threshold).clamp_min(0), room)
