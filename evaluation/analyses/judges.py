"""Classifiers that judge perturbations: models of timm with weights from a file, or ours."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import timm
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from models.anatomy import classifier_modules, network_of
from models.config import TimmConfig
from models.layouts import read_state
from models.normalize import MEAN_STD, Scheme
from models.registry import build_model
from models.weights import load_weights


class Resized(nn.Module):
    """A model that sees its images, of any size, at its own."""

    def __init__(self, model: nn.Module, *, side: int) -> None:
        super().__init__()
        self.model = model
        self.side = side

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        size = (self.side, self.side)
        return self.model(F.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1))


def load_timm(name: str, file: Path, *, num_classes: int) -> tuple[nn.Module, int]:
    """Builds a model of timm with the weights in `file`, and returns the side of its images.

    Raises:
        ValueError: If timm knows no such model, if the file is none of its weights, if it has other
            classes, or if its normalisation is none of ours.
    """
    found = timm.get_pretrained_cfg(name)
    side = found.input_size[-1] if found else 224
    config = TimmConfig(
        family="timm",
        name=name,
        stem="own",
        drop_path=0.0,
        head_dropout=0.0,
        blur_pool=False,
        normalize=_normalization(name),
    )
    model = build_model(config, num_classes=num_classes, resolution=side)
    state = read_state(file, weights="scored")
    _check_classes(name, model, state, num_classes=num_classes)
    try:
        load_weights(model, state, allow=())
    except ValueError as error:
        raise ValueError(
            f"{file} must hold the weights of timm's {name}, and does not fit; name the model that "
            "they belong to"
        ) from error
    return model.eval(), side


def file_digest(path: Path) -> str:
    """Returns the first 12 hex digits of the SHA-256 of a file.

    Raises:
        OSError: If there is none.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _check_classes(
    name: str, model: nn.Module, state: Mapping[str, Tensor], *, num_classes: int
) -> None:
    for layer in classifier_modules(network_of(model)):
        weight = state.get(f"{layer}.weight")
        if weight is not None and len(weight) != num_classes:
            raise ValueError(
                f"a judge must have the classes of the checkpoint, {num_classes}, and the weights "
                f"for {name} have {len(weight)}; take another judge"
            )


def _normalization(name: str) -> Scheme:
    found = timm.get_pretrained_cfg(name)
    if found is None:
        return "none"  # `build_model` says which names there are
    pair = (tuple(found.mean), tuple(found.std))
    for scheme, ours in MEAN_STD.items():
        if pair == ours:
            return scheme
    raise ValueError(
        f"judge {name} normalises with mean {pair[0]} and std {pair[1]}, which must be one of "
        f"{', '.join(MEAN_STD)}; take another judge"
    )
