"""The weights that a trial starts from, and those it leaves alone. Light: no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.config import FREEZE, Config

Freeze = Annotated[str, Field(pattern=FREEZE)]
"""Weights that training does not change: of the stem; of all but the stem; of the stem and the
first N stages (`first_2`), which are blocks in ViT and XCiT. Their batch norms stay as they are.
Meant for weights that come from somewhere: random ones stay random."""


class WeightsConfig(Config):
    """At most one source of weights; without one, training starts from random weights."""

    pretrained: bool
    """Weights of the architecture from the hub of the timm that is installed."""
    init: str
    """Path of a safetensors file or a checkpoint of torch: ours, timm's, or one of Singh et al.
    2023 (arXiv:2303.01870) or Debenedetti et al. 2023 (arXiv:2209.07399). Empty for none; on a
    cluster, on storage that every node sees."""
    entry: Literal["scored", "raw"]
    """`scored`: the averaged weights where the file has them. `raw`: the others."""
    allow: tuple[Literal["head", "position", "stem", "normalize", "size"], ...]
    """What may differ from the weights found: a head of other classes and another stem stay random,
    position embeddings are interpolated, with `normalize` weights from behind another normalisation
    are taken as they are (Debenedetti et al.'s fine-tuning), and with `size` what overlaps is kept
    where the network is wider or deeper."""
    clean_epochs: int = Field(ge=0)
    """Epochs of training without an attack before the trial, by the optimiser, augmentation and
    batch of the search's base; trials that agree on model and data share them. 0 for none."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "WeightsConfig":
        sources = [
            name
            for name, is_on in (
                ("pretrained", self.pretrained),
                ("init", bool(self.init)),
                ("clean_epochs", self.clean_epochs > 0),
            )
            if is_on
        ]
        if len(sources) > 1:
            raise ValueError(
                f"weights come from one source, got {' and '.join(sources)}; switch the others off"
            )
        return self
