"""What goes into an analysis and what comes out of it, whatever its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt
import torch
from pydantic import Field
from torch import nn

from models.config import Config
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

F = TypeVar("F", bound=Config)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an analysis is about."""

    models: Mapping[str, nn.Module]
    """On `device`; the first is the checkpoint that was asked for, the others as the kind says."""
    images: ImageSet
    """Those that the config names; none for a kind that needs none, but of the right size."""
    device: torch.device

    @property
    def model(self) -> nn.Module:
        """The checkpoint that was asked for."""
        return next(iter(self.models.values()))


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[F]):
    """What an analysis found."""

    findings: F
    arrays: Mapping[str, npt.NDArray[Any]]
    """The evidence, image by image."""


class AnalysedModel(Config):
    """A model of an analysis."""

    name: str
    """Its name in the findings."""
    digest: str
    """Of the file that it was read from."""
    model_hash: str
    origin: str
    """Hash of the `TrialConfig` that trained it, or its name in timm."""
    threat: ThreatModel | None
    """That it was trained against; None for a model of timm."""


class AnalysedImages(Config):
    """The images of an analysis."""

    split: Literal["select", "test"]
    n: int = Field(gt=0)
    data_hash: str
    """First 12 hex digits of the SHA-256 of images and labels, in order."""


class AnalysisResult(Config):
    """An analysis that is finished; each kind adds its `config` and its `findings`."""

    schema_version: Literal[1]
    kind: str
    models: tuple[AnalysedModel, ...]
    """The checkpoint that was asked for comes first."""
    images: AnalysedImages | None
    """None for a kind that needs none."""
    seconds: float = Field(ge=0)
