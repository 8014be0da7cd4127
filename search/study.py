"""The Optuna study: what the sampler knows. SQLite in the search's folder."""

import warnings

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search.config import ExperimentConfig, SamplerConfig
from search.folder import SearchFolder
from search.overrides import value_at, with_overrides
from search.recipes import RECIPES, overrides_for
from search.space import encode

optuna.logging.set_verbosity(optuna.logging.WARNING)

RECIPE_ATTR = "recipe"
REASON_ATTR = "reason"


def create_study(folder: SearchFolder, experiment: ExperimentConfig) -> None:
    """Creates the study with the warm starts queued as its first trials."""
    study = optuna.create_study(
        study_name=experiment.name, storage=_storage(folder), direction="maximize"
    )
    for name in experiment.warm_start:
        fixed = overrides_for(RECIPES[name], experiment.base.model)
        recipe = with_overrides(experiment.base, fixed)
        point = {path: encode(value_at(recipe, path)) for path in experiment.space}
        study.enqueue_trial(point, user_attrs={RECIPE_ATTR: name})


def open_study(folder: SearchFolder, experiment: ExperimentConfig) -> optuna.Study:
    """Opens the study with a sampler whose random stream continues, also after a resume."""
    study = optuna.load_study(study_name=experiment.name, storage=_storage(folder))
    # A sampler of the same seed would propose the first session's random points again.
    study.sampler = _sampler(experiment.sampler, asked=len(study.get_trials(deepcopy=False)))
    return study


def _storage(folder: SearchFolder) -> str:
    return f"sqlite:///{folder.study}"


def _sampler(config: SamplerConfig, *, asked: int) -> BaseSampler:
    seed = config.seed + asked
    if config.name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            seed=seed,
            n_startup_trials=config.startup_trials,
            multivariate=True,
            constant_liar=True,  # two trials at a time would otherwise be drawn as twins
        )
