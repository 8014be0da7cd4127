"""The Optuna study: what the sampler knows; see `search/books/storage.py` for where it lies."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from search.books.records import TrialRecord, read_records
from search.books.storage import open_storage
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.overrides import paths, value_at
from search.recipes import RECIPES
from search.results.table import rank_trials
from search.space.axes import BranchAxis, contains, encode
from search.space.candidate import recipe_sample
from search.space.space import Sample, Space, exists, leaf_axes
from search.strategy.config import LOWER_IS_BETTER, StudyStart
from search.strategy.optuna_samplers import build_sampler
from trainers.config import TrialConfig

RECIPE_ATTR = "recipe"
REASON_ATTR = "reason"
ORIGIN_ATTR = "origin"
"""Where a queued trial comes from, if not from a recipe: `study:NAME`."""
TASK_ATTR = "task"
"""What a trial of an earlier study was trained for."""
_RECIPE_ORIGIN = "recipe:"
_log = logging.getLogger(__name__)


def create_study(folder: SearchFolder, experiment: ExperimentConfig) -> None:
    """Creates the study with the warm starts queued as its first trials.

    Raises:
        UserError: If the storage cannot be used or has a study of this name, or an earlier study
            is not there.
    """
    queue = warm_starts(experiment)
    try:
        study = optuna.create_study(
            study_name=experiment.name,
            storage=open_storage(folder, experiment.storage),
            directions=[
                "minimize" if objective in LOWER_IS_BETTER else "maximize"
                for objective in experiment.objectives
            ],
        )
    except optuna.exceptions.DuplicatedStudyError as error:
        raise UserError(
            f"the storage has a study {experiment.name!r} already, of a search in another folder; "
            "name=ANOTHER begins anew, and `rampart resume` with that folder goes on with it"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(list(experiment.objectives))
        for sample, attrs in queue:
            point = {axis: encode(value) for axis, value in sample.items()}
            study.enqueue_trial(point, user_attrs=attrs)
    except BaseException:  # Ctrl-C as well: a shared database would keep half a study
        optuna.delete_study(
            study_name=experiment.name, storage=open_storage(folder, experiment.storage)
        )
        raise


def open_study(folder: SearchFolder, experiment: ExperimentConfig) -> optuna.Study:
    """Opens the study with its sampler, which goes on where it was.

    Raises:
        UserError: If the storage cannot be used, or the study is not there.
    """
    sampler = build_sampler(experiment.sampler, space=experiment.space)
    storage = open_storage(folder, experiment.storage)
    try:
        return optuna.load_study(study_name=experiment.name, storage=storage, sampler=sampler)
    except KeyError as error:
        raise UserError(
            f"the storage of {folder.root} has no study {experiment.name!r}: it was deleted there, "
            "or `storage` in config.yaml was changed; name=ANOTHER begins anew"
        ) from error


def set_constraints(trial: optuna.trial.Trial, excesses: Mapping[str, float]) -> None:
    """Tells the study how far a trial is beyond each constraint; at most 0 means that it holds.

    What a killed session told already stays.
    """
    told = trial.storage.get_trial_system_attrs(trial._trial_id)  # pyright: ignore[reportPrivateUsage]
    for name, value in excesses.items():
        if not any(key.startswith("constraints:") and key.endswith(f":{name}") for key in told):
            trial.set_constraint(name, value)


def warm_starts(experiment: ExperimentConfig) -> list[tuple[Sample, dict[str, Any]]]:
    """Returns the samples that are tried first, with what the study notes of each.

    Raises:
        UserError: If an earlier study is not there.
    """
    return [*_recipe_starts(experiment), *_study_starts(experiment)]


def _recipe_starts(experiment: ExperimentConfig) -> list[tuple[Sample, dict[str, Any]]]:
    return [
        (recipe_sample(experiment.base, experiment.space, RECIPES[name]), {RECIPE_ATTR: name})
        for name in experiment.recipes
    ]


def _study_starts(experiment: ExperimentConfig) -> list[tuple[Sample, dict[str, Any]]]:
    """Returns the best trials of earlier studies; a line of the log names those left out."""
    found: list[tuple[Sample, dict[str, Any]]] = []
    for start in experiment.earlier_studies:
        root = Path(start.study)
        for record in _best(root, start):
            sample, obstacle = _sample_in(experiment.space, record)
            if obstacle:
                _log.warning(
                    "warm_start: trial %s of %s is left out: %s", record.key, root.name, obstacle
                )
                continue
            attrs = {ORIGIN_ATTR: f"study:{root.name}", TASK_ATTR: _task(record.config)}
            if record.origin.startswith(_RECIPE_ORIGIN):  # which sets more than the axes
                attrs[RECIPE_ATTR] = record.origin.removeprefix(_RECIPE_ORIGIN)
            found.append((sample, attrs))
    return found


def _best(root: Path, start: StudyStart) -> list[TrialRecord]:
    folder = SearchFolder(root=root.absolute())
    if not folder.config.is_file():
        raise UserError(
            f"warm_start: there is no search at {folder.root}; name the folder of one, such as "
            "runs/demo"
        )
    return rank_trials(read_records(folder.trials))[: start.top]


def _sample_in(space: Space, record: TrialRecord) -> tuple[Sample, str]:
    """Returns the point of `space` where a trial lies, and why there is none, if so.

    An axis that the trial's search did not have takes the value that all its trials had.
    """
    sample: Sample = {}
    for path, axis in space.items():
        if isinstance(axis, BranchAxis):
            sample[path] = record.params.get(path)
            if not contains(axis, sample[path]):
                return {}, f"{path} is {sample[path]!r}, which is no branch of space.{path}"
    for leaf in leaf_axes(space):
        if not exists(leaf, sample):
            continue
        if leaf.name in record.params:
            value = record.params[leaf.name]
        elif leaf.is_field:
            if leaf.path not in paths(record.config.model_dump(mode="json")):
                return {}, f"its config has no {leaf.path}"
            value = value_at(record.config, leaf.path)
        else:
            return {}, f"it says nothing of {leaf.name}"
        if not contains(leaf.axis, value):
            return {}, f"{leaf.name} is {value!r}, which space.{leaf.name} does not contain"
        sample[leaf.name] = value
    if more := sorted(record.params.keys() - sample.keys()):
        return {}, f"it has {more[0]}, which is no axis of this space for it"
    return sample, ""


def _task(config: TrialConfig) -> str:
    return f"{config.data.source} {config.threat.norm} eps={config.threat.eps:.4g}"
