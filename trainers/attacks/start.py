"""Random starts for evaluation: each image has its own seed, so its batch does not matter."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trainers.attacks.projection import l2_norms
from trainers.threat import ThreatModel


def random_start(
    x: Float[Tensor, "batch c h w"], threat: ThreatModel, *, seeds: Sequence[int]
) -> Float[Tensor, "batch c h w"]:
    """Draws one start per image as AutoAttack does: on the surface of the ball, cut to [0, 1].

    Args:
        seeds: One per image; the same seed gives the same perturbation on every device.

    Raises:
        ValueError: If there is not one seed per image.
    """
    if len(seeds) != len(x):
        raise ValueError(f"random_start needs one seed per image: {len(seeds)} for {len(x)} images")
    # Drawn on the CPU, because a GPU's stream depends on how many numbers a kernel draws at once.
    noise = torch.stack([_noise(x.shape[1:], threat, seed) for seed in seeds]).to(x)
    if threat.norm == "linf":
        noise = noise / (noise.abs().amax(dim=(1, 2, 3), keepdim=True) + 1e-12)
    else:
        noise = noise / (l2_norms(noise) + 1e-12)
    return (x + threat.eps * noise).clamp(0, 1)


def _noise(shape: torch.Size, threat: ThreatModel, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if threat.norm == "linf":
        return 2 * torch.rand(shape, generator=generator) - 1
    return torch.randn(shape, generator=generator)
