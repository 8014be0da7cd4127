"""Which attack makes the training examples. Light: no torch."""

from typing import Literal

from pydantic import Field, model_validator

from models.config import Config, Fraction
from trainers.threat import ThreatModel


class AttackConfig(Config):
    """The attack that makes training examples, in eval mode; `steps` may follow a schedule."""

    name: Literal["fgsm", "pgd", "apgd"]
    """`fgsm`: one step; with `noise` RS-FGSM (Wong et al. 2020, arXiv:2001.03994) or N-FGSM (de
    Jorge et al. 2022, arXiv:2202.01181). `pgd`: last iterate (Madry et al. 2018,
    arXiv:1706.06083). `apgd`: best iterate (Croce and Hein 2020, arXiv:2003.01690)."""
    steps: int = Field(ge=1)
    """Gradient steps, without the random start."""
    reach: float = Field(gt=0)
    """Length of all steps together in units of eps, so a step is reach x eps / steps. `fgsm` and
    `pgd` only: APGD sets its own step size."""
    noise: float = Field(ge=0)
    """Radius of the random start in units of eps; 0 starts at the clean image. Uniform in the ball
    for linf, on its surface for l2, a projected Gaussian for l1."""
    project: bool
    """Whether the result is put back into the ball. N-FGSM leaves it at noise + reach from the
    clean image; only `fgsm` may."""
    loss: Literal["ce", "dlr", "kl"]
    """What is climbed. `ce`: cross-entropy with the targets that training fits. `dlr`: the
    difference-of-logits ratio, on the hard label. `kl`: divergence from the clean prediction, as
    in TRADES; it takes a forward pass more."""
    target: Literal["none", "random", "least_likely"]
    """Class that the attack aims at, other than the label: with `ce` its cross-entropy falls, with
    `dlr` the targeted ratio rises. `least_likely` takes a forward pass more."""
    fraction: Fraction
    """Share of each batch that is attacked (Hua et al. 2024: half recovers most); the rest stays
    clean, and 0 is clean training."""
    also: tuple[ThreatModel, ...]
    """Threat models that are trained against beside `threat`; their eps follows the schedule."""
    union: Literal["max", "average", "msd", "alternate"]
    """How several threat models are united. `max`: for each image the one of the highest loss;
    `average`: all of them, at as many times the cost (both Tramer and Boneh 2019,
    arXiv:1904.13000). `msd`: each step goes where the loss is highest (Maini et al. 2020,
    arXiv:1909.04068). `alternate`: one for each batch, in turn (E-AT, Croce and Hein 2022,
    arXiv:2105.12508, draws it by its running error)."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "AttackConfig":
        if self.name == "fgsm" and self.steps > 1:
            raise ValueError(
                f"attack fgsm takes 1 step, got steps={self.steps}; take name=pgd, or let a space "
                "choose whole sections: attack: {choice: [{...}, {...}]}"
            )
        if not self.project and (self.name != "fgsm" or self.also):
            raise ValueError("attack.project=false is N-FGSM: it needs name=fgsm and one threat")
        if self.noise > 1 and self.name != "fgsm":
            raise ValueError(
                f"attack.noise={self.noise:g} starts outside the ball; above 1 it needs name=fgsm"
            )
        if self.loss == "kl" and self.target != "none":
            raise ValueError(f"attack.loss=kl has no target, got target={self.target!r}")
        if self.loss == "kl" and not self.noise:
            raise ValueError("attack.loss=kl needs noise > 0: at the clean image its gradient is 0")
        if self.union == "msd" and self.also and self.name != "pgd":
            raise ValueError(f"attack.union=msd needs name=pgd, got name={self.name!r}")
        return self
