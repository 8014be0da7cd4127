"""The experiment: one YAML file describes the whole search. Light: no torch, no Ray."""

from typing import Annotated

from pydantic import Field, model_validator

from evaluation.config import EarlyCheckConfig, ReferenceConfig
from evaluation.diagnosis_config import DiagnosisConfig
from models.config import Config
from search.books.storage import check_storage
from search.errors import UserError
from search.overrides import with_overrides
from search.promotion.config import Overrides, PromotionConfig
from search.recipes import find_recipe
from search.resources import ResourcesConfig, check_workers
from search.space.axes import Axis, BranchAxis, contains
from search.space.candidate import build_trial, recipe_sample
from search.space.constraints import Constraints, check_countable
from search.space.rules import PINNED_IN_FULL_RUNS, blaming, check_space, refuse
from search.space.space import leaf_axes
from search.strategy.config import BudgetConfig, LadderConfig, Objective, StudyStart
from search.strategy.optuna_samplers import check_sampler
from search.strategy.sampler_config import AnySampler
from trainers.config import CheckpointsConfig, TrialConfig

PINNED_ON_RUNGS = ("data.source", "data.seed", "threat", "seed", "epochs", "model", "weights")
"""What a rung cannot change: the trial would be another one, or be checked by another measure."""


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
        changes = {"promotion.overrides": self.promotion.overrides} | {
            f"promotion.before.{place}.overrides": stage.overrides
            for place, stage in enumerate(self.promotion.before)
        }
        for what, overrides in changes.items():
            self._changed(overrides, what)
            refuse(overrides, PINNED_IN_FULL_RUNS, what)
        return self

    @model_validator(mode="after")
    def _space_is_valid(self) -> "ExperimentConfig":
        check_space(
            self.base, self.space, full_run=self.promotion.overrides, check=self._check_on_rungs
        )
        return self

    @model_validator(mode="after")
    def _strategy_fits(self) -> "ExperimentConfig":
        check_sampler(self.sampler, space=self.space, objectives=len(self.objectives))
        check_storage(self.storage)
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objectives {list(self.objectives)} must differ from each other")
        if "unseen" in self.objectives and not self.early_check.unseen:
            raise ValueError(
                "objectives has unseen, but early_check.unseen names no threat; add one, such as "
                "{norm: l2, eps: 0.5}"
            )
        return self

    @model_validator(mode="after")
    def _ladder_fits_the_space(self) -> "ExperimentConfig":
        ladder = self.ladder
        branches = [name for name, axis in self.space.items() if isinstance(axis, BranchAxis)]
        if ladder.bracket_by and ladder.bracket_by not in branches:
            raise ValueError(
                f"ladder.bracket_by={ladder.bracket_by!r} must be a branch axis of the space, "
                f"which has {branches or 'none'}"
            )
        refuse(ladder.grow, PINNED_ON_RUNGS, "ladder.grow")
        for place, epochs in enumerate(ladder.rungs if ladder.kind == "ladder" else ()):
            grown = {path: values[place] for path, values in ladder.grow.items()}
            self._changed({**grown, "epochs": epochs}, f"ladder.grow: rung {epochs}")
        return self

    @model_validator(mode="after")
    def _recipes_lie_in_the_space(self) -> "ExperimentConfig":
        for name in self.recipes:
            try:
                recipe = find_recipe(name)
            except UserError as error:
                raise ValueError(f"warm_start: {error}") from error
            what = f"warm_start: recipe {name!r}"
            with blaming(what):
                sample = recipe_sample(self.base, self.space, recipe)
                self._check_trial(build_trial(self.base, self.space, sample, recipe=recipe))
            for leaf in leaf_axes(self.space):
                if leaf.name in sample and not contains(leaf.axis, sample[leaf.name]):
                    raise ValueError(
                        f"{what} has {leaf.path} = {sample[leaf.name]!r}, which space.{leaf.name} "
                        "does not contain; widen the axis or leave the recipe out"
                    )
        return self

    def _check_on_rungs(self, trial: TrialConfig) -> None:
        """Raises ValueError if a trial cannot run, in full or as a rung of the ladder has it."""
        self._check_trial(trial)
        ladder = self.ladder
        for place, epochs in enumerate(ladder.rungs if ladder.kind == "ladder" else ()):
            grown = {path: values[place] for path, values in ladder.grow.items()}
            self._check_trial(with_overrides(trial, {**grown, "epochs": epochs}))

    def _changed(self, overrides: Overrides, what: str) -> None:
        """Raises ValueError, with `what` brought it, if `base` cannot be changed so."""
        with blaming(what):
            self._check_trial(with_overrides(self.base, overrides))

    def _check_trial(self, config: TrialConfig) -> None:
        """Raises ValueError if the search could not run a trial of this config."""
        check_workers(config, self.resources)
        check_countable(self.constraints, config)
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
