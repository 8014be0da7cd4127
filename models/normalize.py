"""Input normalisation as the first layer of a model: attacks and data stay on [0, 1]."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Scheme = Literal["none", "half", "imagenet", "cifar"]

MEAN_STD: dict[Scheme, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
"""Mean and standard deviation of each channel; `half` maps [0, 1] to [-1, 1]."""


class Normalize(nn.Module):
    """Subtracts a mean and divides by a standard deviation, for each channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        mean, std = MEAN_STD[scheme]
        # Not persistent: the config names them, and weights load into a model of another scheme.
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 3 h w"]:
        return (x - self.mean) / self.std


def normalization(scheme: Scheme) -> nn.Module:
    """Returns the layer for `scheme`; the identity for "none"."""
    return nn.Identity() if scheme == "none" else Normalize(scheme)
