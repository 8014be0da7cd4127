"""The targets that training fits, and the loss on them. Attacks climb the same soft targets."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor


def soft_targets(
    y: Int[Tensor, " batch"], *, num_classes: int, smoothing: float
) -> Float[Tensor, "batch classes"]:
    """Returns one-hot rows of which `smoothing` is spread evenly over all classes."""
    one_hot = F.one_hot(y, num_classes).to(torch.float32)
    return one_hot * (1 - smoothing) + smoothing / num_classes


def mix_targets(
    targets: Float[Tensor, "batch classes"], share: float
) -> Float[Tensor, "batch classes"]:
    """Returns `share` of each row and the rest of its partner's in the flipped batch."""
    return targets * share + targets.flip(0) * (1 - share)


def training_loss(
    logits: Float[Tensor, "batch classes"], targets: Float[Tensor, "batch classes"]
) -> Float[Tensor, ""]:
    """Returns the mean cross-entropy against soft targets."""
    return F.cross_entropy(logits, targets)
