"""Optuna's samplers by name. What one draws for a trial depends on the search's seed, the trial's
number and what the study knows, so that a resumed search goes on as an undisturbed one would.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    nsgaii,
)
from optuna.trial import FrozenTrial, TrialState

from search.space.axes import (
    AnyLeafAxis,
    BranchAxis,
    ChoiceAxis,
    IntAxis,
    LogUniformAxis,
    UniformAxis,
    axis_ends,
    encode,
)
from search.space.space import Space
from search.strategy.sampler_config import (
    AnySampler,
    CmaesConfig,
    GpConfig,
    GridConfig,
    Nsga2Config,
    Nsga3Config,
    QmcConfig,
    RandomConfig,
    TpeConfig,
)

MOST_GRID_POINTS = 10_000
"""Optuna holds the whole grid in memory, and its list of values in every trial."""
_CROSSOVERS: Mapping[str, type[nsgaii.BaseCrossover]] = {
    "blxalpha": nsgaii.BLXAlphaCrossover,
    "sbx": nsgaii.SBXCrossover,
    "spx": nsgaii.SPXCrossover,
    "undx": nsgaii.UNDXCrossover,
    "vsbx": nsgaii.VSBXCrossover,
}


def build_sampler(config: AnySampler, *, space: Space) -> BaseSampler:
    """Returns the sampler for a study over `space`; see `check_sampler` for what fits together."""
    return _SeededByTrial(config, space=space)


def check_sampler(config: AnySampler, *, space: Space, objectives: int) -> None:
    """Raises ValueError if the sampler cannot search `space` for so many objectives."""
    if not isinstance(config, TpeConfig | RandomConfig):
        for path, axis in space.items():
            is_branch = isinstance(axis, BranchAxis)
            if is_branch or axis.when:
                raise ValueError(
                    f"sampler.name={config.name} needs the same axes in every trial, but "
                    f"space.{path} {'is a branch' if is_branch else 'has a condition'}; take tpe "
                    "or random, or a space without it"
                )
    if isinstance(config, CmaesConfig):
        _check_cmaes(config, space, objectives)
    if isinstance(config, Nsga3Config) and objectives < 2:
        raise ValueError(
            "sampler.name=nsga3 spreads trials over several objectives, got one; take nsga2 or tpe"
        )
    if isinstance(config, GridConfig) and (count := grid_size(config, space)) > MOST_GRID_POINTS:
        raise ValueError(
            f"sampler.name=grid has {count} points, at most {MOST_GRID_POINTS} can be held; lower "
            "sampler.points, take axes out of the space, or take qmc"
        )


def grid_size(config: GridConfig, space: Space) -> int:
    """Returns the number of points of the grid; a search has no more trials to ask for."""
    return math.prod(len(values) for values in _grid(config, space).values())


def is_exhausted(study: optuna.Study) -> bool:
    """Whether the sampler has proposed all that it ever will; only a grid ends."""
    sampler = study.sampler
    return isinstance(sampler, _SeededByTrial) and sampler.is_exhausted(study)


class _SeededByTrial(BaseSampler):
    """A new sampler for each trial, with a seed of the trial's own; state is in the study alone."""

    def __init__(self, config: AnySampler, *, space: Space) -> None:
        self._config = config
        self._space = space
        self._number = -1
        self._sampler = self._of(0)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._of(trial.number).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial.number).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._of(trial.number).sample_independent(
            study, trial, param_name, param_distribution
        )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._of(trial.number).before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        # At its last point GridSampler calls Study.stop, which raises outside Study.optimize.
        if not isinstance(self._config, GridConfig):
            self._of(trial.number).after_trial(study, trial, state, values)

    def is_exhausted(self, study: optuna.Study) -> bool:
        if not isinstance(self._config, GridConfig):
            return False
        # GridSampler's own rule takes a point that is running for one to be tried again.
        attrs = [trial.system_attrs for trial in study.get_trials(deepcopy=False)]
        tried = {one["grid_id"] for one in attrs if "grid_id" in one}
        return len(tried) >= grid_size(self._config, self._space)

    def _of(self, number: int) -> BaseSampler:
        if number != self._number:
            entropy = np.random.SeedSequence([self._config.seed, number])
            self._sampler = _build(
                self._config, space=self._space, seed=int(entropy.generate_state(1)[0])
            )
            self._number = number
        return self._sampler


def _build(config: AnySampler, *, space: Space, seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config:
            case GpConfig():
                return GPSampler(seed=seed, n_startup_trials=config.startup_trials)
            case RandomConfig() | TpeConfig():
                # TPE's samples are queued (search/books/asking.py): here is drawn what they leave.
                return RandomSampler(seed=seed)
            case QmcConfig():
                return QMCSampler(
                    qmc_type=config.kind,
                    scramble=config.scramble,
                    seed=config.seed,  # the sequence's; where it has got to is in the study
                    independent_sampler=RandomSampler(seed=seed),
                    warn_independent_sampling=False,
                )
            case GridConfig():
                return GridSampler(_grid(config, space), seed=config.seed)  # of their order
            case Nsga2Config():
                return NSGAIISampler(seed=seed, **_genetics(config))
            case Nsga3Config():
                return NSGAIIISampler(
                    seed=seed, dividing_parameter=config.divisions, **_genetics(config)
                )
            case CmaesConfig():
                return CmaEsSampler(
                    seed=seed,
                    n_startup_trials=config.startup_trials,
                    popsize=config.population_size or None,
                    use_separable_cma=config.kind == "separable",
                    with_margin=config.kind == "margin",
                    lr_adapt=config.kind == "adaptive",
                    warn_independent_sampling=False,
                )


def _crossover(config: Nsga2Config | Nsga3Config) -> nsgaii.BaseCrossover:
    if config.crossover == "uniform":
        return nsgaii.UniformCrossover(config.swapping_prob)
    return _CROSSOVERS[config.crossover]()


def _genetics(config: Nsga2Config | Nsga3Config) -> dict[str, Any]:
    """Returns what both NSGA samplers call alike."""
    return {
        "population_size": config.population_size,
        "crossover": _crossover(config),
        "crossover_prob": config.crossover_prob,
        "swapping_prob": config.swapping_prob,
        "mutation_prob": None if config.mutation_prob == "auto" else config.mutation_prob,
    }


def _grid(config: GridConfig, space: Space) -> dict[str, list[Any]]:
    return {
        path: _values(axis, config.points)
        for path, axis in space.items()
        if not isinstance(axis, BranchAxis)
    }


def _values(axis: AnyLeafAxis, points: int) -> list[Any]:
    match axis:
        case UniformAxis():
            return np.linspace(*axis.bounds, points).tolist()
        case LogUniformAxis():
            return np.geomspace(*axis.bounds, points).tolist()
        case IntAxis():
            low, high = axis.bounds
            spread = np.linspace(low, high, min(points, high - low + 1))
            return [round(value) for value in spread.tolist()]
        case _:
            return [encode(value) for value in axis_ends(axis)]


def _check_cmaes(config: CmaesConfig, space: Space, objectives: int) -> None:
    if objectives > 1:
        raise ValueError(
            f"sampler.name=cmaes knows one objective, got {objectives}; take tpe, gp or nsga2"
        )
    for path, axis in space.items():
        if isinstance(axis, ChoiceAxis):
            raise ValueError(
                f"sampler.name=cmaes moves along axes of numbers, but space.{path} is a choice; "
                "take tpe, gp or nsga2, or make it an int axis"
            )
    if config.kind == "separable" and len(space) == 1:
        raise ValueError("sampler.kind=separable needs two axes or more, got one; take kind=full")
