"""The result of an evaluation: one JSON file with everything a reviewer asks for."""

from typing import Any, Literal

from pydantic import Field, model_validator

from evaluation.engine.stages import EvaluationAttack
from models.config import Config
from trainers.metrics import Accuracy, wilson_interval
from trainers.threat import ThreatModel


class EvaluationResult(Config):
    """Clean and robust accuracy of one model on one fixed list of images."""

    schema_version: Literal[2]
    attack: str
    """For example `autoattack-standard`."""
    attack_package: str
    """Name and version of what ran it: `pyautoattack 0.2.0`, or `rampart 0.1.0`, our engine."""
    attacks: tuple[EvaluationAttack, ...]
    """In order; none are listed in files of version 1, which were all of version standard."""
    precision: Literal["fp32", "bf16"]
    """Of the search; successes and clean images were decided in float32."""
    threat: ThreatModel
    split: str
    """`test`, the checkpoint's own, or `robustbench`."""
    data_hash: str
    """First 12 hex digits of the SHA-256 of images and labels, in order."""
    model_hash: str
    """First 12 hex digits of the SHA-256 of the weights, in order of their names."""
    config_hash: str
    """Hash of the `TrialConfig` that trained the model."""
    seed: int
    clean_interval: tuple[float, float]
    """Wilson's 95 % interval of the accuracy without attack."""
    robust_interval: tuple[float, float]
    """Of the accuracy under the whole sequence of attacks."""
    is_clean_correct: tuple[bool, ...]
    """Per image: right without attack."""
    is_robust: tuple[bool, ...]
    """Per image: right under every attack."""
    broken_by: dict[str, int]
    """Images each attack of the sequence broke first, in its order."""
    largest_perturbation: float = Field(ge=0)
    """Largest measured norm of any perturbation, in the threat's norm, checked in fp32."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, fields: Any) -> Any:
        """Takes files of version 1, and works the intervals out where they are not given."""
        if not isinstance(fields, dict):
            return fields
        known = dict[str, Any](fields)
        if known.get("schema_version") == 1:
            known.pop("seconds", None)
            known |= {"schema_version": 2, "attacks": (), "precision": "fp32"}
        for name, flags in (("clean", "is_clean_correct"), ("robust", "is_robust")):
            right = known.get(flags)
            if f"{name}_interval" not in known and isinstance(right, (list, tuple)) and right:
                values = list[Any](right)
                known[f"{name}_interval"] = wilson_interval(values.count(True), len(values))
        return known

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
