"""What the plain model says of the clean images: who is attacked, and towards which classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from evaluation.precision import full_precision
from evaluation.verify import margins_of
from trainers.attacks.mode import attack_mode
from trainers.data.images import ImageSet


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What the plain model says of one clean image."""

    image: int
    label: int
    predicted: int
    margin: float
    """Logit of the label minus the best other one."""
    targets: tuple[int, ...]
    """Wrong classes, the most likely first; as many as the stages ask for."""


def look_at(
    model: nn.Module,
    images: ImageSet,
    index: Sequence[int],
    *,
    numbers: range,
    targets: int,
    lanes: int,
    device: torch.device,
) -> list[Clean]:
    """Asks the plain model, in eval mode and float32, about the images at `index`.

    Args:
        numbers: Of the images, in their order; `index` holds some of them.
        lanes: Images that are asked about together; the last batch is filled up.

    Raises:
        ValueError: If there are not `targets` wrong classes, or a logit is not finite.
    """
    found: list[Clean] = []
    with attack_mode(model), full_precision(), torch.no_grad():
        for first in range(0, len(index), lanes):
            part = list(index[first : first + lanes])
            filled = part + [part[0]] * (lanes - len(part))
            x, y = load(images, filled, numbers=numbers, device=device)
            found += _rows_of(part, y, model(x), targets=targets)
    return found


def load(
    images: ImageSet, index: Sequence[int], *, numbers: range, device: torch.device
) -> tuple[Float[Tensor, "some c h w"], Int64[Tensor, " some"]]:
    """Returns the images of the numbers in `index` on [0, 1], and their labels."""
    places = torch.tensor([numbers.index(number) for number in index])
    return images.floats(places).to(device), images.labels[places].to(device)


def _rows_of(part: Sequence[int], y: Tensor, logits: Tensor, *, targets: int) -> list[Clean]:
    if targets >= logits.shape[1]:
        raise ValueError(
            f"targets ({targets}) must be less than the number of classes ({logits.shape[1]})"
        )
    if not bool(torch.isfinite(logits[: len(part)]).all()):
        raise ValueError(
            "logits must be finite, and the model gives NaN or infinity for some of the images; "
            "look at its weights"
        )
    others = logits.scatter(1, y.unsqueeze(1), -torch.inf)
    wrong = others.topk(targets, dim=1).indices.tolist()
    rows = zip(
        part,
        y.tolist(),
        logits.argmax(dim=1).tolist(),
        margins_of(logits, y).tolist(),
        wrong,
        strict=False,  # beyond `part` there is padding
    )
    return [
        Clean(image=image, label=label, predicted=said, margin=margin, targets=tuple(classes))
        for image, label, said, margin, classes in rows
    ]
