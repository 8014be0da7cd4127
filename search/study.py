"""The Optuna study: what the sampler knows. SQLite in the search's folder."""

import warnings
from collections.abc import Mapping

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search.candidate import recipe_sample
from search.config import ExperimentConfig, SamplerConfig
from search.folder import SearchFolder
from search.recipes import RECIPES
from search.space import encode

RECIPE_ATTR = "recipe"
REASON_ATTR = "reason"


def create_study(folder: SearchFolder, experiment: ExperimentConfig) -> None:
    """Creates the study with the warm starts queued as its first trials."""
    study = optuna.create_study(
        study_name=experiment.name, storage=_storage(folder), direction="maximize"
    )
    for name in experiment.warm_start:
        sample = recipe_sample(experiment.base, experiment.space, RECIPES[name])
        point = {axis: encode(value) for axis, value in sample.items()}
        study.enqueue_trial(point, user_attrs={RECIPE_ATTR: name})


def open_study(folder: SearchFolder, experiment: ExperimentConfig) -> optuna.Study:
    """Opens the study with a sampler whose random stream continues, also after a resume."""
    study = optuna.load_study(study_name=experiment.name, storage=_storage(folder))
    # A sampler of the same seed would propose the first session's random points again.
    study.sampler = _sampler(experiment.sampler, asked=len(study.get_trials(deepcopy=False)))
    return study


def set_constraints(trial: optuna.trial.Trial, excesses: Mapping[str, float]) -> None:
    """Tells the study how far a trial is beyond each constraint; at most 0 means that it holds.

    What a killed session told already stays.
    """
    told = trial.storage.get_trial_system_attrs(trial._trial_id)  # pyright: ignore[reportPrivateUsage]
    for name, value in excesses.items():
        if not any(key.startswith("constraints:") and key.endswith(f":{name}") for key in told):
            trial.set_constraint(name, value)


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
            group=True,  # axes that only some branches have are modelled where they exist
            constant_liar=True,  # two trials at a time would otherwise be drawn as twins
        )
