"""The experiment: one YAML file describes the whole search. Light: no torch, no Ray."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from evaluation.config import EarlyCheckConfig, ReferenceConfig
from models.config import Config
from search.overrides import with_overrides
from search.space import Axis, axis_ends
from trainers.config import Fraction, TrialConfig

Overrides = dict[str, Any]
"""Dotted paths of a `TrialConfig` and their new values."""


class SamplerConfig(Config):
    """Optuna's sampler."""

    name: Literal["tpe", "random"]
    seed: int = Field(ge=0)
    startup_trials: int = Field(ge=0)
    """Random trials before the model is trusted; warm starts count."""


class LadderConfig(Config):
    """Early stopping: ASHA (Li et al. 2020, arXiv:1810.05934), stopping type, on epochs."""

    rungs: tuple[Annotated[int, Field(ge=1)], ...]
    """Epochs at which a trial is checked and may be stopped, rising; the last epoch is added."""
    reduction: int = Field(ge=2)
    """At a rung the best 1 / reduction of the trials seen there go on."""


class BudgetConfig(Config):
    """What the search may spend."""

    trials: int = Field(ge=1)
    """Trials in all: the warm starts, then the sampler's."""


class ResourcesConfig(Config):
    """What one trial holds on the cluster, and how many run side by side."""

    concurrent_trials: int = Field(ge=1)
    workers: int = Field(ge=1)
    """Data-parallel workers of a trial."""
    cpus_per_worker: int = Field(ge=1)
    """Also its number of threads."""
    gpus_per_worker: float = Field(ge=0)
    worker_restarts: int = Field(ge=0)
    """How often a trial goes on from its last checkpoint after a worker died (killed, node lost).
    An error that training itself raises is not repeated."""


class PromotionConfig(Config):
    """From trials to full runs."""

    top_k: int = Field(ge=1)
    min_clean_accuracy: Fraction
    """Trials below it are not promoted."""
    overrides: Overrides
    """What a full run changes in the trial's config, such as `epochs`."""


class ExperimentConfig(Config):
    """One search, from its space to its promotion."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Folder of the search under `runs_dir`."""
    runs_dir: str
    """Relative paths start at the working directory; on a cluster, storage that every node sees."""
    base: TrialConfig
    """The untuned default: what a trial is where the space says nothing."""
    space: Annotated[dict[str, Axis], Field(min_length=1)]
    """Dotted paths of `base` and what the sampler may choose there."""
    warm_start: tuple[str, ...]
    """Published recipes that are tried first."""
    sampler: SamplerConfig
    ladder: LadderConfig
    early_check: EarlyCheckConfig
    budget: BudgetConfig
    resources: ResourcesConfig
    promotion: PromotionConfig
    reference: ReferenceConfig
