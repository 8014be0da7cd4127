"""When a training's curve counts as a failure. Light: no torch.

A number called ours is in no paper; the four public curves on ImageNet that it was held against are
Debenedetti et al.'s (2023, arXiv:2209.07399), in their repository.
"""

from pydantic import Field, model_validator

from models.config import Config, Fraction


class DiagnosisConfig(Config):
    """The thresholds of `evaluation.diagnoses`; accuracies are fractions."""

    noise_se: float = Field(ge=0)
    """Standard errors by which a difference of accuracies must exceed chance to count, but for
    single-step gap and label leaking. 2 (ours)."""

    non_start_odds: float = Field(gt=1)
    """Clean accuracy below these odds over those of a blind guess is guessing: with C classes below
    k / (k + C - 1), which is k / C for many. 3 (ours; Debenedetti et al. 2023, table IV, say of
    such a training only that it fails)."""
    non_start_loss: Fraction
    """Where clean accuracy was not measured, a mean loss above this share of ln C, the loss of a
    blind guess, is guessing. 0.97 (ours)."""
    non_start_epochs: int = Field(ge=0)
    """Epochs after warm-up that a training is given to do better than to guess. 2 (ours)."""

    divergence_loss: float = Field(gt=1)
    """After warm-up, a mean loss above so many times ln C is divergence; one that is not finite is
    at any time, which also ends the training in Singh et al.'s code (2023, arXiv:2303.01870).
    2 (ours)."""

    collapse_points: float = Field(gt=0, lt=1)
    """A fall of the accuracy under PGD-10, or of robust accuracy, by more than this from its
    highest is catastrophic overfitting. 0.2: early stopping in the code of Wong et al. 2020,
    arXiv:2001.03994, where it is PGD-5 on one batch, and from one epoch to the next."""
    collapse_share: float = Field(gt=0, lt=1)
    """So is a fall by more than this share of its highest. 0.3 (ours)."""

    gap_flag: float = Field(gt=0, lt=1)
    """After warm-up a single-step gap r = (PGD-1 - PGD-10) / PGD-1 of this much that rises is
    flagged. 0.08 (ours: the bad public curve has it from epoch 20; the ResNet-50, a healthy one,
    from epoch 80)."""
    gap_stop: float = Field(gt=0, lt=1)
    """A gap of this much ends the trial, if `gap_se` leave it above `gap_flag`. 0.12 (ours: the
    bad public curve has 0.123 at epoch 30, the highest of the healthy ones is 0.096)."""
    gap_se: float = Field(ge=0)
    """Standard errors by which a gap that ends the trial must exceed `gap_flag`. 4 (ours: of
    simulated healthy curves, whose gap rises to 0.096, at most 0.4 % end at any number of images;
    with 2 standard errors up to 17 % do)."""

    leak_se: float = Field(ge=0)
    """Accuracy under PGD-1 above clean accuracy is label leaking (Kurakin et al. 2017,
    arXiv:1611.01236, for FGSM), if by more than so many standard errors. 1 (ours)."""

    overfitting_checks: int = Field(ge=1)
    """Successive measurements of a robust accuracy, each `noise_se` below its highest, that are
    robust overfitting (Rice et al. 2020, arXiv:2002.11569, who report highest minus last and state
    no threshold). 2 (ours)."""

    weak_zeros: Fraction
    """Share of zeros in the input gradient above which an attack has no way to go. 0.01 (ours; a
    healthy network has none)."""
    weak_size: Fraction
    """Mean size of PGD-1's perturbation over eps below which it is weak. 0.5 (ours: for linf its
    random start has as much, and near 0.93 is usual)."""
    weak_gain: float = Field(ge=0)
    """Mean loss that PGD-1 must add, in nats; it is weak if it adds no more. 0 (ours)."""
    weak_drop: float = Field(gt=0, lt=1)
    """Share of the clean accuracy that PGD-10 must take from a network that does not guess. 0.02
    (ours; at least 0.29 on the public curves)."""

    @model_validator(mode="after")
    def _flag_comes_before_the_end(self) -> "DiagnosisConfig":
        if self.gap_flag >= self.gap_stop:
            raise ValueError(
                f"gap_flag ({self.gap_flag:g}) must be less than gap_stop ({self.gap_stop:g})"
            )
        return self
