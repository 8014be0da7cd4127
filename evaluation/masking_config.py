"""How gradient masking is looked for, and what counts as a sign of it. Light: no torch."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from evaluation.analyses.config import ImagesConfig, listed
from models.config import Fraction
from trainers.threat import ThreatModel


class MaskingConfig(ImagesConfig):
    """The attacks and thresholds of `evaluation.masking`; accuracies are fractions.

    A difference or share of accuracies counts where the lower end of its 95 % interval, about two
    standard errors below it, exceeds the threshold. A number called ours is in no paper.
    """

    images: int = Field(gt=0)
    """The first so many of the split. 256 (ours; below 90 a single image could be a sign)."""
    batch_size: int = Field(ge=1)
    """Images attacked together; with `seed` it decides Square's random numbers."""
    seed: int = Field(ge=0)
    """Of random starts, noise, Square, and of a model that draws random numbers itself."""
    threat: ThreatModel

    passes: int = Field(ge=2)
    """Times that the clean images are classified to tell whether the model is random. 5 (code of
    AutoAttack, Croce and Hein 2020, arXiv:2003.01690)."""
    logit_change: float = Field(ge=0)
    """Distance (l2) of an image's logits between two passes, each divided by its norm, above which
    the model is random. 1e-4 (code of AutoAttack; full float32)."""
    probability_slack: float = Field(ge=0)
    """Outputs within [0, 1] that sum to 1, both by this slack, are probabilities. 1e-5 (code of
    AutoAttack)."""

    zero_gradients: Fraction
    """Share of the correct clean images, whose input gradient is zero in all pixels or not finite
    in one, above which it is a sign. 0 (AutoAttack warns of one such image)."""

    apgd_steps: int = Field(ge=1)
    """Of APGD, the white-box attack, with either loss and at each eps. 20 (ours; 100 in
    AutoAttack)."""
    eps_factors: Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(listed)]
    """Multiples of eps, beside 1, at which APGD-CE is run; accuracy must not rise with them
    (Athalye et al. 2018, arXiv:1802.00420, sec. 3.1; Carlini et al. 2019, arXiv:1902.06705). 0.25,
    0.5, 2, 4, 8 (ours; 8 x 4/255 = 32/255)."""
    unbroken: Fraction
    """Accuracy that may remain at the largest multiple, where images can be changed beyond
    recognition and it should reach 0 (Athalye et al. 2018, sec. 3.1). 0.01 (ours)."""

    few_steps: int = Field(ge=1)
    """Of the shorter PGD, with steps of 2.5 x eps / steps (Madry et al. 2018, arXiv:1706.06083).
    10 (ours)."""
    many_steps: int = Field(ge=1)
    """Of the longer PGD, from the same start: it must not leave more images right (Carlini et al.
    2019). 100 (ours)."""

    square_queries: int = Field(ge=1)
    """Of Square (Andriushchenko et al. 2020, arXiv:1912.00049) on what APGD left right with
    both losses. 500 (ours; 5000 in AutoAttack)."""
    noise_draws: int = Field(ge=1)
    """Random images on the surface of the ball, tried on what APGD left right (Athalye et al. 2018,
    sec. 3.1, with 10^5 and more). 10 (ours)."""
    black_box_gain: Fraction
    """Share of all images, left right by APGD but not by Square or noise, above which black box
    beats white box. 0.002 (code of AutoAttack, for Square after its three white-box attacks)."""

    loss_gap: Fraction
    """Accuracy under APGD-CE minus that under APGD-DLR above which the gradients of cross-entropy
    are imbalanced (Jiang et al. 2020, arXiv:2006.13726, state no threshold). 0.04 (ours: three
    robust ResNets of Peng et al. 2023, arXiv:2308.16258, have 0.021 to 0.036 between PGD-100 and
    AutoAttack)."""

    @model_validator(mode="after")
    def _comparisons_have_two_sides(self) -> "MaskingConfig":
        if self.few_steps >= self.many_steps:
            raise ValueError(
                f"few_steps ({self.few_steps}) must be less than many_steps ({self.many_steps})"
            )
        if max(self.eps_factors, default=0.0) <= 1:
            raise ValueError(
                f"eps_factors {list(self.eps_factors)} must contain a factor above 1, such as 8, "
                "at which no image withstands"
            )
        return self
