"""The images behind the report's picture: clean, adversarial, and what the model says of both."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.precision import full_precision
from trainers.atomic import write_atomically
from trainers.attacks.mode import attack_mode
from trainers.data.images import ImageSet

EXAMPLES = 8


def write_examples(
    path: Path,
    model: nn.Module,
    images: ImageSet,
    *,
    adversarial: Mapping[int, Tensor],
    robust: Sequence[int],
    device: torch.device,
) -> None:
    """Writes up to eight examples as .npz; robust images fill up what broken ones leave free.

    Arrays: `index` (n,), `clean` uint8 and `adversarial` float32 (n, 3, h, w), `labels`,
    `clean_prediction` and `adversarial_prediction` (n,). A robust image is its own adversarial.

    Args:
        adversarial: Images (3, h, w) by their places, those that are shown first first.
    """
    chosen = torch.tensor([*adversarial, *robust][:EXAMPLES], dtype=torch.int64)
    x = images.floats(chosen)
    x_adv = x.clone()
    for row, i in enumerate(chosen.tolist()):
        x_adv[row] = adversarial.get(i, x[row])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=chosen.numpy(),
        clean=images.images[chosen].numpy(),
        adversarial=x_adv.numpy(),
        labels=images.labels[chosen].numpy(),
        clean_prediction=_predict(model, x, device),
        adversarial_prediction=_predict(model, x_adv, device),
    )
    write_atomically(path, buffer.getvalue())


@torch.no_grad()
def _predict(model: nn.Module, x: Tensor, device: torch.device) -> np.ndarray:
    if not len(x):
        return np.zeros(0, dtype=np.int64)
    with attack_mode(model), full_precision():
        return model(x.to(device)).argmax(dim=1).cpu().numpy()
