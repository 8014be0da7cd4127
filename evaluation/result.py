"""The result of a reference evaluation: one JSON file with everything a reviewer asks for."""

from typing import Literal

from pydantic import Field, model_validator

from models.config import Config
from trainers.metrics import Accuracy
from trainers.threat import ThreatModel


class EvaluationResult(Config):
    """Clean and robust accuracy of one model on one fixed list of images."""

    schema_version: Literal[1]
    attack: str
    """For example `autoattack-standard`."""
    attack_package: str
    """Name and version of the package that ran it, such as `pyautoattack 0.2.0`."""
    threat: ThreatModel
    split: str
    data_hash: str
    """First 12 hex digits of the SHA-256 of images and labels, in order."""
    model_hash: str
    """First 12 hex digits of the SHA-256 of the weights, in order of their names."""
    config_hash: str
    """Hash of the `TrialConfig` that trained the model."""
    seed: int
    is_clean_correct: tuple[bool, ...]
    """Per image: right without attack."""
    is_robust: tuple[bool, ...]
    """Per image: right under every attack."""
    broken_by: dict[str, int]
    """Images each attack of the sequence broke first, in its order."""
    largest_perturbation: float = Field(ge=0)
    """Largest measured norm of any perturbation, in the threat's norm, checked in fp32."""
    seconds: float = Field(ge=0)

    @model_validator(mode="after")
    def _flags_agree(self) -> "EvaluationResult":
        pairs = zip(self.is_clean_correct, self.is_robust, strict=True)
        if any(robust and not clean for clean, robust in pairs):
            raise ValueError("an image cannot be robust and wrong without attack")
        return self

    @property
    def clean(self) -> Accuracy:
        """Accuracy without attack."""
        n = len(self.is_clean_correct)
        return Accuracy(attack="clean", n=n, correct=sum(self.is_clean_correct))

    @property
    def robust(self) -> Accuracy:
        """Accuracy under the whole sequence of attacks."""
        return Accuracy(attack=self.attack, n=len(self.is_robust), correct=sum(self.is_robust))
