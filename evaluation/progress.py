"""How far a reference evaluation has come: one JSON file, rewritten after every batch."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor

from evaluation.config import ReferenceConfig
from models.config import Config
from trainers.atomic import write_atomically
from trainers.threat import ThreatModel

MISCLASSIFIED = "misclassified"
ROBUST = "robust"


class ReferenceIdentity(Config):
    """All that decides the outcome; progress made under another identity is not continued."""

    attack_package: str
    model_hash: str
    data_hash: str
    threat: ThreatModel
    config: ReferenceConfig


class Example(Config):
    """An adversarial image, kept for the report's picture."""

    index: int = Field(ge=0)
    shape: tuple[int, int, int]
    pixels: str
    """float32, little-endian, base64."""

    @classmethod
    def of(cls, index: int, x_adv: Float[Tensor, "c h w"]) -> "Example":
        """Packs image `index` of the split."""
        c, h, w = x_adv.shape
        raw = x_adv.cpu().numpy().astype("<f4").tobytes()
        return cls(index=index, shape=(c, h, w), pixels=base64.b64encode(raw).decode())

    @property
    def x_adv(self) -> Float[Tensor, "c h w"]:
        """The image."""
        flat = np.frombuffer(base64.b64decode(self.pixels), dtype="<f4")
        return torch.from_numpy(flat.astype(np.float32)).view(self.shape)


class ReferenceProgress(Config):
    """The outcome of the first images of the list, as many as are finished."""

    schema_version: Literal[1]
    identity: ReferenceIdentity
    outcomes: tuple[str, ...]
    """Per image: `misclassified` without attack, the attack that broke it first, or `robust`."""
    perturbations: tuple[float, ...]
    """Per image: measured norm of the adversarial perturbation, 0 where there is none."""
    examples: tuple[Example, ...]
    """Adversarial images of `pick_examples`."""
    seconds: float = Field(ge=0)
    """Time spent, over all sessions."""

    @property
    def is_clean_correct(self) -> tuple[bool, ...]:
        """Per image: right without attack."""
        return tuple(outcome != MISCLASSIFIED for outcome in self.outcomes)

    @property
    def is_robust(self) -> tuple[bool, ...]:
        """Per image: right under every attack."""
        return tuple(outcome == ROBUST for outcome in self.outcomes)


def read_progress(partial: Path, identity: ReferenceIdentity) -> ReferenceProgress:
    """Returns what `partial` holds, or no progress if there is no such file.

    Raises:
        ValueError: If the file is not ours, or belongs to another evaluation.
    """
    if not partial.exists():
        return ReferenceProgress(
            schema_version=1,
            identity=identity,
            outcomes=(),
            perturbations=(),
            examples=(),
            seconds=0,
        )
    try:
        progress = ReferenceProgress.model_validate_json(partial.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{partial} is not the progress of an evaluation: {error}") from error
    found, expected = (i.model_dump(mode="json") for i in (progress.identity, identity))
    refuse_mismatch(partial, found=found, expected=expected)
    return progress


def write_progress(partial: Path, progress: ReferenceProgress) -> None:
    """Replaces `partial`; a kill leaves the old file or the new one."""
    write_atomically(partial, progress.model_dump_json().encode())


def refuse_mismatch(
    path: Path, *, found: Mapping[str, object], expected: Mapping[str, object]
) -> None:
    """Raises ValueError, with both values and the way out, if `found` differs in a key."""
    differences = [
        f"{key} is {found[key]} there and {value} here"
        for key, value in expected.items()
        if found[key] != value
    ]
    if differences:
        raise ValueError(
            f"{path} belongs to another evaluation: {'; '.join(differences)}; "
            "delete it to start again, or choose another folder"
        )


def pick_examples(labels: Sequence[int], is_broken: Sequence[bool], *, limit: int) -> list[int]:
    """Picks broken images, from as many classes as there are, the earliest of each class first.

    What is picked from the whole list is always among what was picked from its beginning and what
    came later, so the choice can be made while images arrive.
    """
    seen: dict[int, int] = {}
    ranked: list[tuple[int, int]] = []  # (how many of its class came before, index)
    for index, (label, broken) in enumerate(zip(labels, is_broken, strict=True)):
        if broken:
            rank = seen.get(label, 0)
            seen[label] = rank + 1
            ranked.append((rank, index))
    return [index for _, index in sorted(ranked)[:limit]]
