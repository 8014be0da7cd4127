"""Losses that attacks climb: one number per image, larger where the model is more wrong."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

AttackLoss = Callable[[Tensor], Tensor]
"""Logits (batch, classes) -> one number per image, to be maximised; it knows the labels."""


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    y: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
) -> Float[Tensor, " batch"]:
    """Returns the cross-entropy of each image against a hard or a soft label."""
    return F.cross_entropy(logits, y, reduction="none")


def dlr(
    logits: Float[Tensor, "batch classes"], y: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Returns the difference-of-logits ratio, which no rescaling of the logits changes.

    Raises:
        ValueError: If there are fewer than three classes.
    Source: Croce and Hein 2020, arXiv:2003.01690, eq. 6.
    """
    _require_classes(logits, 3, name="dlr")
    top, index = logits.topk(3, dim=1)
    best_other = torch.where(index[:, 0] == y, top[:, 1], top[:, 0])
    return (best_other - _at(logits, y)) / (top[:, 0] - top[:, 2] + 1e-12)


def targeted_dlr(
    logits: Float[Tensor, "batch classes"], y: Int[Tensor, " batch"], target: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Returns the difference-of-logits ratio towards the class `target`.

    Raises:
        ValueError: If there are fewer than four classes.
    Source: Croce and Hein 2020, arXiv:2003.01690, eq. 7.
    """
    _require_classes(logits, 4, name="targeted_dlr")
    top = logits.topk(4, dim=1).values
    scale = top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12
    return (_at(logits, target) - _at(logits, y)) / scale


def kl_divergence(
    logits: Float[Tensor, "batch classes"], reference: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """Returns KL(softmax(reference) || softmax(logits)); the gradient flows to both arguments.

    Args:
        reference: Logits of the clean images; detached where an attack climbs.

    Source: the inner problem of TRADES, Zhang et al. 2019, arXiv:1901.08573, eq. 5.
    """
    log_p, log_q = F.log_softmax(reference, dim=1), F.log_softmax(logits, dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.unsqueeze(1)).squeeze(1)


def _require_classes(logits: Tensor, least: int, *, name: str) -> None:
    if logits.shape[1] < least:
        raise ValueError(f"{name} needs at least {least} classes, got {logits.shape[1]}")
