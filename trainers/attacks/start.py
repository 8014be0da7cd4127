"""Random starts of attacks: for evaluation one seed per image, for training one stream."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trainers.attacks.l1 import project_l1
from trainers.attacks.projection import Threat, l2_norms


def random_start(
    x: Float[Tensor, "batch c h w"], threat: Threat, *, seeds: Sequence[int]
) -> Float[Tensor, "batch c h w"]:
    """Draws one start per image as AutoAttack does: on the surface of the ball, cut to [0, 1].

    In l1 it is the point of ball and box nearest to Gaussian noise, which moves few pixels.

    Args:
        seeds: One per image, so that its batch does not matter; the same seed gives the same
            perturbation on every device.

    Raises:
        ValueError: If there is not one seed per image.
    """
    if len(seeds) != len(x):
        raise ValueError(f"random_start needs one seed per image: {len(seeds)} for {len(x)} images")
    # Drawn on the CPU, because a GPU's stream depends on how many numbers a kernel draws at once.
    noise = torch.stack([_noise(x.shape[1:], threat, seed) for seed in seeds]).to(x)
    if threat.norm == "l1":
        return project_l1(x + noise, x, threat.eps)
    if threat.norm == "linf":
        noise = noise / (noise.abs().amax(dim=(1, 2, 3), keepdim=True) + 1e-12)
    else:
        noise = noise / (l2_norms(noise) + 1e-12)
    return (x + threat.eps * noise).clamp(0, 1)


def noise_start(
    x: Float[Tensor, "batch c h w"], threat: Threat, *, noise: float, generator: torch.Generator
) -> Float[Tensor, "batch c h w"]:
    """Draws the starts of a training batch within `noise` x eps of `x`, cut to [0, 1].

    Uniform in the cube for `linf`, on the sphere for `l2`; for `l1` as `random_start` does.

    Args:
        noise: Radius in units of eps; above 1 the start may leave `threat`, 0 returns `x`.
        generator: On the device of `x`.
    """
    if noise == 0:
        return x
    radius = noise * threat.eps
    if threat.norm == "linf":
        return (x + radius * torch.empty_like(x).uniform_(-1, 1, generator=generator)).clamp(0, 1)
    gaussian = torch.empty_like(x).normal_(generator=generator)
    if threat.norm == "l1":
        return project_l1(x + gaussian, x, radius)
    return (x + radius * gaussian / (l2_norms(gaussian) + 1e-12)).clamp(0, 1)


def _noise(shape: torch.Size, threat: Threat, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if threat.norm == "linf":
        return 2 * torch.rand(shape, generator=generator) - 1
    return torch.randn(shape, generator=generator)
