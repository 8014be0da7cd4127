"""Which sampler proposes trials, by name, with its options. Light: no Optuna."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.config import Config, Fraction


class _SamplerConfig(Config):
    seed: int = Field(ge=0)
    """Of the search; what it draws for a trial depends on this and on the trial's number."""


class TpeConfig(_SamplerConfig):
    """Tree-structured Parzen estimators, multivariate (Falkner et al. 2018, arXiv:1807.01774)."""

    name: Literal["tpe"]
    startup_trials: int = Field(default=10, ge=0)
    """Random trials before the model is trusted; warm starts count, and so do samples beyond a
    constraint."""
    random_share: Fraction = 0.1
    """Share of the trials after them that are random, so that no part of the space is given up."""
    min_observations: int = Field(default=6, ge=2)
    """Trials that must have reached a rung before it counts: what a trial is expected to show at
    the highest such rung is what the model sees (`search/strategy/expectation.py`)."""


class GpConfig(_SamplerConfig):
    """A Gaussian process and expected improvement; of hypervolume with several objectives."""

    name: Literal["gp"]
    startup_trials: int = Field(default=10, ge=1)
    """Random trials before the model is trusted. Only completed ones count, as in all it learns
    from: beside a ladder that stops most trials, these are few."""


class RandomConfig(_SamplerConfig):
    """Each axis by itself, uniformly."""

    name: Literal["random"]


class QmcConfig(_SamplerConfig):
    """A sequence that fills the space more evenly than chance."""

    name: Literal["qmc"]
    kind: Literal["sobol", "halton"] = "sobol"
    """Sobol's is most even where the number of trials is a power of 2."""
    scramble: bool = True
    """Whether `seed` moves the points; otherwise the sequence is always the same."""


class GridConfig(_SamplerConfig):
    """Every combination of values, in an order drawn by `seed`."""

    name: Literal["grid"]
    points: int = Field(default=3, ge=2)
    """Values of each axis of numbers, ends included, evenly spaced, in the logarithm where the axis
    is logarithmic; an axis of fewer whole numbers has all of them."""


class _GeneticConfig(_SamplerConfig):
    population_size: int = Field(default=50, ge=2)
    """Trials of a generation; the first is random. Only completed ones count, so take
    `ladder.decide: none`. Optuna's default is 50."""
    crossover: Literal["uniform", "blxalpha", "sbx", "spx", "undx", "vsbx"] = "uniform"
    """How numbers are inherited; choices always come from either parent. `spx` and `undx` have
    three parents, the others two."""
    crossover_prob: Fraction = 0.9
    """Share of the trials with several parents; the others are copies of one, before mutation."""
    swapping_prob: Fraction = 0.5
    """Probability that a choice, or with `uniform` any value, comes from the second parent."""
    mutation_prob: Literal["auto"] | Fraction = "auto"
    """Probability that an axis is drawn anew. `auto`: 1 / number of axes."""

    @model_validator(mode="after")
    def _has_enough_parents(self) -> "_GeneticConfig":
        if self.crossover in ("spx", "undx") and self.population_size < 3:
            raise ValueError(
                f"crossover={self.crossover} needs three parents, got population_size="
                f"{self.population_size}"
            )
        return self


class Nsga2Config(_GeneticConfig):
    """NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017)."""

    name: Literal["nsga2"]


class Nsga3Config(_GeneticConfig):
    """NSGA-III (Deb and Jain 2014, doi:10.1109/TEVC.2013.2281535), for three objectives or more."""

    name: Literal["nsga3"]
    divisions: int = Field(default=3, ge=1)
    """Of each axis between the reference points, to which the survivors are spread."""


class CmaesConfig(_SamplerConfig):
    """CMA-ES (Hansen 2016, arXiv:1604.00772), for axes of numbers and one objective.

    Optuna 5 has withdrawn its restarts, initial point and initial step size.
    """

    name: Literal["cmaes"]
    kind: Literal["full", "separable", "margin", "adaptive"] = "full"
    """`separable`: a diagonal covariance (Ros and Hansen 2008). `margin`: whole numbers cannot get
    stuck (Hamano et al. 2022, arXiv:2205.13482). `adaptive`: learning rates for noisy objectives
    (Nomura et al. 2023, arXiv:2304.03473)."""
    population_size: int = Field(default=0, ge=0)
    """Trials of a generation, 4 or more; 0: 4 + floor(3 ln(axes))."""
    startup_trials: int = Field(default=1, ge=1)
    """Random trials before the first generation; only completed ones count, as in all of it: take
    `ladder.decide: none`."""

    @model_validator(mode="after")
    def _has_two_parents(self) -> "CmaesConfig":
        if 0 < self.population_size < 4:  # a covariance takes two, half a generation
            raise ValueError(
                f"population_size must be 4 or more, or 0 for what the number of axes asks for, "
                f"got {self.population_size}"
            )
        return self


AnySampler = Annotated[
    TpeConfig
    | GpConfig
    | RandomConfig
    | QmcConfig
    | GridConfig
    | Nsga2Config
    | Nsga3Config
    | CmaesConfig,
    Field(discriminator="name"),
]
