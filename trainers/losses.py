"""The targets that training fits, and the loss on them. Attacks climb the same soft targets."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from trainers.attacks.losses import kl_divergence


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


def trades_loss(
    clean: Float[Tensor, "batch classes"],
    adversarial: Float[Tensor, "batch classes"],
    targets: Float[Tensor, "batch classes"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """Returns CE(clean, y) + beta KL(clean || adversarial), each a mean over the batch.

    The gradient flows through both arguments of the divergence, as in the authors' code.
    Source: Zhang et al. 2019, arXiv:1901.08573, eq. 5, with beta = 1 / lambda.
    """
    return F.cross_entropy(clean, targets) + beta * kl_divergence(adversarial, clean).mean()


def mart_loss(
    clean: Float[Tensor, "batch classes"],
    adversarial: Float[Tensor, "batch classes"],
    y: Int[Tensor, " batch"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """Returns BCE(adversarial, y) + beta KL(clean || adversarial) (1 - p_y(clean)), means.

    BCE adds to the cross-entropy a margin term, -log(1 - p) of the likeliest wrong class.
    Source: Wang et al. 2020, OpenReview rklOg6EFwS, eq. 11; as in the authors' code the weight
    (1 - p_y) is not detached; their logarithms are of p + 1e-4, ours exact.
    """
    wrong = adversarial.scatter(1, y.unsqueeze(1), -torch.inf).argmax(dim=1, keepdim=True)
    others = adversarial.scatter(1, wrong, -torch.inf)
    # -log(1 - p_wrong), without the cancellation in 1 - p where the attack wins completely.
    margin = adversarial.logsumexp(dim=1) - others.logsumexp(dim=1)
    is_missed = 1 - F.softmax(clean, dim=1).gather(1, y.unsqueeze(1)).squeeze(1)
    second = kl_divergence(adversarial, clean) * is_missed
    return F.cross_entropy(adversarial, y) + margin.mean() + beta * second.mean()
