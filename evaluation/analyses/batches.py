"""The images of an analysis in batches, and what the model says of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from evaluation.engine.engine import item_seed
from trainers.attacks.losses import cross_entropy
from trainers.attacks.mode import attack_mode
from trainers.attacks.pgd import pgd
from trainers.attacks.projection import Threat
from trainers.attacks.start import random_start
from trainers.data.images import ImageSet
from trainers.metrics import Accuracy


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Some images on the device."""

    index: Int64[Tensor, " batch"]
    """Their places in the list; on the CPU."""
    x: Float[Tensor, "batch 3 h w"]
    y: Int64[Tensor, " batch"]

    def starts(self, threat: Threat, *, seed: int, number: int) -> Float[Tensor, "batch 3 h w"]:
        """Draws random start `number` of each image, which its batch does not change."""
        seeds = [item_seed(seed, image=i, stage=number) for i in self.index.tolist()]
        return random_start(self.x, threat, seeds=seeds)


def batches(images: ImageSet, *, batch_size: int, device: torch.device) -> Iterator[Labelled]:
    """Yields all images, in order."""
    for index in torch.arange(len(images)).split(batch_size):
        x, y = images.floats(index), images.labels[index]
        yield Labelled(index=index, x=x.to(device), y=y.to(device))


def pgd_batch(
    model: nn.Module, batch: Labelled, threat: Threat, *, steps: int, reach: float, seed: int
) -> Float[Tensor, "batch 3 h w"]:
    """Runs PGD on cross-entropy from one random start, with steps of reach x eps / steps."""
    return pgd(
        model,
        batch.x,
        threat,
        steps=steps,
        step_size=reach * threat.eps / steps,
        loss=lambda logits: cross_entropy(logits, batch.y),
        start=batch.starts(threat, seed=seed, number=0),
    )


def logits_of(model: nn.Module, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
    """Returns what the model says of `x` in eval mode, without gradients."""
    with attack_mode(model), torch.no_grad():
        return model(x)


def is_right(
    model: nn.Module, x: Float[Tensor, "batch 3 h w"], y: Int64[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Returns for each image whether the model gives it its label; on the CPU."""
    return (logits_of(model, x).argmax(dim=1) == y).cpu()


def count_right(attack: str, flags: Bool[Tensor, " n"]) -> Accuracy:
    """Returns the accuracy of which `flags` are the images."""
    return Accuracy(attack=attack, n=len(flags), correct=int(flags.sum()))
