"""What an evaluation consists of: attacks, and the stages that they are cut into. Light: no torch.

A stage is one run of one attack: from one random start, at one target class. Stages are numbered in
the order of AutoAttack, and the first that breaks an image is the one that broke it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pydantic import Field, model_validator

from models.config import Config

AttackName = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]
Family = Literal["apgd", "fab", "square"]
Norm = Literal["linf", "l2", "l1"]


class EvaluationAttack(Config):
    """One attack of an evaluation."""

    name: AttackName
    steps: int = Field(ge=1)
    """Iterations of one run; for `square`, queries."""
    restarts: int = Field(ge=1)
    """Runs from different random starts, against each target class."""
    targets: int = Field(ge=0)
    """Classes that `apgd-t` and `fab-t` aim at in turn: the most likely wrong ones. Else 0."""
    passes: int = Field(ge=1)
    """Forward and backward passes that are averaged into one gradient, for a random model (EOT,
    Athalye et al. 2018, arXiv:1707.07397)."""
    shrinks: bool
    """Whether eps starts at three times its value and comes down, in thirds of the steps: APGD in
    l1 (Croce and Hein 2021, arXiv:2103.01208)."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "EvaluationAttack":
        is_targeted = self.name in ("apgd-t", "fab-t")
        if is_targeted != (self.targets > 0):
            rule = "needs targets >= 1" if is_targeted else "has no target classes, set targets=0"
            raise ValueError(f"attack {self.name} {rule}, got targets={self.targets}")
        if not self.name.startswith("apgd") and (self.passes > 1 or self.shrinks):
            raise ValueError(f"passes > 1 and shrinks are for apgd, not for {self.name}")
        if self.name == "fab-t" and self.restarts > 1:
            raise ValueError(f"fab-t has no random start here: restarts=1, got {self.restarts}")
        return self


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One run of one attack."""

    number: int
    """Place in the evaluation, from 0; part of the seed of each image's random numbers."""
    attack: EvaluationAttack
    rank: int
    """k for the k-th most likely wrong class, 0 where there is no target."""
    restart: int
    """From 0."""

    @property
    def family(self) -> Family:
        """What runs it; stages of a family share the lanes."""
        name = self.attack.name
        return "fab" if name == "fab-t" else "square" if name == "square" else "apgd"


def version_attacks(
    version: Literal["standard", "rand"], norm: Norm, *, num_classes: int
) -> tuple[EvaluationAttack, ...]:
    """Returns the attacks of a version of AutoAttack, with fewer targets where classes are fewer.

    Source: Croce and Hein 2020, arXiv:2003.01690; for l1 2021, arXiv:2103.01208: five restarts,
    five targets and a shrinking ball. The numbers are those of the package.
    """
    is_l1, others = norm == "l1", num_classes - 1

    def apgd(name: AttackName, *, restarts: int, targets: int, passes: int) -> EvaluationAttack:
        return EvaluationAttack(
            name=name,
            steps=100,
            restarts=restarts,
            targets=min(targets, others),
            passes=passes,
            shrinks=is_l1 and version == "standard",
        )

    def other(name: AttackName, *, steps: int, targets: int) -> EvaluationAttack:
        return EvaluationAttack(
            name=name,
            steps=steps,
            restarts=1,
            targets=min(targets, others),
            passes=1,
            shrinks=False,
        )

    if version == "rand":
        names: tuple[AttackName, ...] = ("apgd-ce", "apgd-dlr")
        return tuple(apgd(name, restarts=1, targets=0, passes=20) for name in names)
    return (
        apgd("apgd-ce", restarts=5 if is_l1 else 1, targets=0, passes=1),
        apgd("apgd-t", restarts=1, targets=5 if is_l1 else 9, passes=1),
        other("fab-t", steps=100, targets=9),
        other("square", steps=5000, targets=0),
    )


def stages_of(attacks: Sequence[EvaluationAttack]) -> tuple[Stage, ...]:
    """Returns the stages of `attacks`, in order."""
    runs = [
        (attack, rank, restart)
        for attack in attacks
        for rank in (range(1, attack.targets + 1) if attack.targets else (0,))
        for restart in range(attack.restarts)
    ]
    return tuple(
        Stage(number=number, attack=attack, rank=rank, restart=restart)
        for number, (attack, rank, restart) in enumerate(runs)
    )


def rounds_of(stages: Sequence[Stage]) -> list[tuple[Stage, ...]]:
    """Returns the stages in rounds: neighbours that run side by side, for they compute alike."""

    def kind(stage: Stage) -> tuple[Family, int, bool]:
        return stage.family, stage.attack.passes, stage.attack.shrinks

    return [tuple(group) for _, group in groupby(stages, key=kind)]


def attack_title(version: str, attacks: Sequence[EvaluationAttack]) -> str:
    """Returns the name under which a robust accuracy is reported, such as autoattack-standard."""
    if version != "custom":
        return f"autoattack-{version}"
    return "+".join(map(_short_name, attacks))


def _short_name(attack: EvaluationAttack) -> str:
    runs = attack.restarts * max(attack.targets, 1)
    passes = f"*{attack.passes}" if attack.passes > 1 else ""
    return f"{attack.name}({runs}x{attack.steps}{passes})"
