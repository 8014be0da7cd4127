"""Settings of the early check and of the reference evaluation. Light: no torch."""

from typing import Literal

from pydantic import Field

from models.config import Config


class EarlyCheckConfig(Config):
    """APGD-CE, then targeted APGD-DLR on what survives, on a fixed list of the select split."""

    images: int = Field(gt=0)
    """The first so many images of the select split; classes are balanced."""
    ce_steps: int = Field(ge=1)
    t_steps: int = Field(ge=1)
    """Steps against each target class."""
    targets: int = Field(ge=1)
    """Target classes per image: the most likely wrong ones."""
    batch_size: int = Field(ge=1)
    seed: int = Field(ge=0)
    """With the image's index it seeds the image's own random start."""


class ReferenceConfig(Config):
    """The reference AutoAttack (Croce and Hein 2020, arXiv:2003.01690) from `pyautoattack`."""

    version: Literal["standard"]
    images: int = Field(gt=0)
    """The first so many images of the test split; classes are balanced."""
    batch_size: int = Field(ge=1)
    """Images attacked together; also what is lost when an evaluation is killed."""
    seed: int = Field(ge=0)
