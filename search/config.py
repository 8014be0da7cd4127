"""The experiment: one YAML file describes the whole search. Light: no torch, no Ray."""

import random
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from evaluation.config import EarlyCheckConfig, ReferenceConfig
from evaluation.diagnosis_config import DiagnosisConfig
from models.config import Config
from search.candidate import build_trial, recipe_sample
from search.constraints import Constraints
from search.errors import UserError, explain
from search.overrides import value_at, with_overrides
from search.promotion_config import Overrides, PromotionConfig
from search.recipes import Recipe, find_recipe
from search.resources import ResourcesConfig, check_workers
from search.space import (
    AnyAxis,
    Axis,
    BranchAxis,
    Sample,
    axis_ends,
    contains,
    corner,
    ends,
    leaf_axes,
)
from search.strategy.config import BudgetConfig, LadderConfig, Objective, StudyStart
from search.strategy.sampler_config import AnySampler
from trainers.config import CheckpointsConfig, TrialConfig

CORNERS = 100
PINNED_IN_FULL_RUNS = ("data.source", "data.seed", "threat")
"""Fixed by `base`: another data seed would put pixels that selected a trial into its test split."""
PINNED_IN_TRIALS = (
    *PINNED_IN_FULL_RUNS,
    "seed",
    "data.resolution",
    "data.select_images",
    "data.test_images",
    "epochs",
    "weights.clean_epochs",
    "attack.also",
    "attack.union",
)
"""Fixed by `base`: a sampler would win by a weaker attack or easier images; rungs count epochs; and
checks measure `threat` alone, so it would win by leaving out the other norms."""
READ_IF: dict[str, tuple[str, tuple[str, ...]]] = {
    "attack.reach": ("attack.name", ("fgsm", "pgd")),
    "attack.project": ("attack.name", ("fgsm",)),
    "objective.beta": ("objective.name", ("trades", "mart")),
    "optim.step_every": ("optim.schedule", ("step",)),
    "model.stem_convs": ("model.stem", ("conv",)),
    "model.stem_widths": ("model.stem", ("conv",)),
    "model.stem_projection": ("model.stem", ("conv",)),
    "model.stem_act": ("model.stem", ("conv",)),
}
"""Fields that nothing reads unless another field has one of these values."""


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
    constraints: Constraints
    """What a model may cost; a sample beyond it never becomes a trial, and the sampler is told."""
    warm_start: tuple[str | StudyStart, ...]
    """What is tried first: published recipes by name (`rampart recipe` lists them), and the best
    trials of earlier searches. Where the space has branches, recipes start in the first one; models
    of timm keep their own stem."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)] = ("robust",)
    """What rungs and sampler weigh; with several, by Pareto rank."""
    sampler: AnySampler
    ladder: LadderConfig
    early_check: EarlyCheckConfig
    diagnosis: DiagnosisConfig
    """When the curve of a trial's checks ends it, or flags it."""
    budget: BudgetConfig
    storage: str = "sqlite"
    """Of the Optuna study: `sqlite`, a file in the folder; `journal`, one for folders that machines
    share over a network; or the URL of a PostgreSQL or MySQL database, where `${NAME}` stands for a
    variable of the environment."""
    resources: ResourcesConfig
    checkpoints: CheckpointsConfig
    promotion: PromotionConfig
    reference: ReferenceConfig

    @property
    def recipes(self) -> tuple[str, ...]:
        """The published recipes among the warm starts."""
        return tuple(start for start in self.warm_start if isinstance(start, str))

    @property
    def earlier_studies(self) -> tuple[StudyStart, ...]:
        """The earlier searches among the warm starts."""
        return tuple(start for start in self.warm_start if isinstance(start, StudyStart))

    @model_validator(mode="after")
    def _ladder_fits_the_epochs(self) -> "ExperimentConfig":
        rungs = self.ladder.rungs
        if rungs and rungs[-1] >= self.base.epochs:
            raise ValueError(
                f"ladder.rungs {list(rungs)} must stay below base.epochs ({self.base.epochs}), "
                "which is the last rung by itself"
            )
        return self

    @model_validator(mode="after")
    def _base_is_valid(self) -> "ExperimentConfig":
        self._check_trial(self.base)
        self._changed(self.promotion.overrides, "promotion.overrides", of=self.base)
        _refuse(self.promotion.overrides, PINNED_IN_FULL_RUNS, "promotion.overrides")
        return self

    @model_validator(mode="after")
    def _every_end_is_valid(self) -> "ExperimentConfig":
        _refuse(self.space, PINNED_IN_TRIALS, "space")
        _refuse((path for _, path, _, _ in leaf_axes(self.space)), PINNED_IN_TRIALS, "space")
        for sample in ends(self.space):
            name, value = list(sample.items())[-1]
            what = f"space.{name}: the value {value!r}"
            self._check_pins(self._sampled(sample, what), what)
        return self

    @model_validator(mode="after")
    def _every_axis_is_read(self) -> "ExperimentConfig":
        for name, path, _, where in leaf_axes(self.space):
            if path not in READ_IF:
                continue
            switch, values = READ_IF[path]
            seen = self._values_of(switch, where)
            if not set(seen) & set(values):
                raise ValueError(
                    f"space.{name} changes nothing: it is read only where {switch} is one of "
                    f"{list(values)}, and it is {' or '.join(sorted(set(map(repr, seen))))}"
                )
        return self

    @model_validator(mode="after")
    def _ends_agree_with_each_other(self) -> "ExperimentConfig":
        """Rules between fields can fail where each end alone is valid: tries random corners."""
        draw = random.Random(0)
        for _ in range(CORNERS):
            sample = corner(self.space, draw)
            trial = self._sampled(sample, f"space: the combination {sample}")
            self._changed(
                self.promotion.overrides,
                f"promotion.overrides: with the sample {sample}, the full run",
                of=trial,
            )
        return self

    @model_validator(mode="after")
    def _recipes_lie_in_the_space(self) -> "ExperimentConfig":
        for name in self.recipes:
            try:
                recipe = find_recipe(name)
            except UserError as error:
                raise ValueError(f"warm_start: {error}") from error
            with _blaming(f"warm_start: recipe {name!r}"):
                sample = recipe_sample(self.base, self.space, recipe)
            self._sampled(sample, f"warm_start: recipe {name!r}", recipe=recipe)
            for axis_name, path, axis, _ in leaf_axes(self.space):
                if axis_name in sample and not contains(axis, sample[axis_name]):
                    raise ValueError(
                        f"warm_start: recipe {name!r} has {path} = {sample[axis_name]!r}, which "
                        f"space.{axis_name} does not contain; widen the axis or leave the recipe "
                        "out"
                    )
        return self

    def _values_of(self, path: str, where: Sample) -> list[Any]:
        """Returns the values that a field can have: in one branch, or in all where none is said."""
        branches = [{name: value} for name, axis in self.space.items() for value in _names(axis)]
        values: list[Any] = []
        for sample in [where] if where or not branches else branches:
            axes = [
                axis
                for _, other, axis, there in leaf_axes(self.space)
                if other == path and there.items() <= sample.items()
            ]
            trial = build_trial(self.base, self.space, sample, recipe=None)
            values += axis_ends(axes[0]) if axes else (value_at(trial, path),)
        return values

    def _check_pins(self, changed: TrialConfig, what: str) -> None:
        """Raises ValueError if a whole section, chosen at once, brings a pinned field along."""
        for pin in PINNED_IN_TRIALS:
            if value_at(changed, pin) != value_at(self.base, pin):
                raise ValueError(
                    f"{what} changes {pin}, which is set in base for all trials alike, or numbers "
                    "could not be compared"
                )

    def _sampled(self, sample: Sample, what: str, recipe: Recipe | None = None) -> TrialConfig:
        """Returns the trial of a sample; a failure names `what` brought it."""
        with _blaming(what):
            config = build_trial(self.base, self.space, sample, recipe=recipe)
            self._check_trial(config)
        return config

    def _changed(self, overrides: Overrides, what: str, *, of: TrialConfig) -> None:
        """Raises ValueError, with `what` brought it, if `of` cannot be changed so."""
        with _blaming(what):
            self._check_trial(with_overrides(of, overrides))

    def _check_trial(self, config: TrialConfig) -> None:
        """Raises ValueError if the search could not run a trial of this config."""
        check_workers(config, self.resources)
        data = config.data
        if self.early_check.images > data.select_images:
            raise ValueError(
                f"early_check.images ({self.early_check.images}) must not exceed "
                f"data.select_images ({data.select_images})"
            )
        if self.reference.images > data.test_images:
            raise ValueError(
                f"reference.images ({self.reference.images}) must not exceed "
                f"data.test_images ({data.test_images})"
            )


def _names(axis: AnyAxis) -> tuple[str, ...]:
    return tuple(axis.branches) if isinstance(axis, BranchAxis) else ()


@contextmanager
def _blaming(what: str) -> Generator[None]:
    """Turns every way in which a change of a config can fail into a ValueError that names it."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{what} cannot be set: {error.args[0]}") from error
    except ValidationError as error:
        rules = "; ".join(explain(error, TrialConfig))
        raise ValueError(f"{what} is invalid: {rules}") from error
    except ValueError as error:
        raise ValueError(f"{what} is invalid: {error}") from error


def _refuse(paths: Iterable[str], pinned: Sequence[str], what: str) -> None:
    for path in paths:
        if any(path == pin or path.startswith(f"{pin}.") for pin in pinned):
            raise ValueError(
                f"{what} must not change {path}, or numbers could not be compared; set it in base"
            )
