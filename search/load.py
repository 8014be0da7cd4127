"""From a YAML file and dotted overrides to a search or a run, with clear messages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import ValidationError

from models.config import Config
from search.config import ExperimentConfig
from search.errors import UserError, explain
from search.overrides import override_or_refuse, with_overrides
from search.recipes import find_recipe, overrides_for
from search.space.space import ChoiceAxis
from search.training import TrainingConfig

C = TypeVar("C", bound=Config)

PATHS = ("weights.init", "data.path", "data.test_path", "data.extra.path")
"""Fields of a trial that name a file or folder."""


def load_experiment(path: Path, overrides: Mapping[str, Any]) -> ExperimentConfig:
    """Reads the experiment at `path` and applies `overrides`.

    Raises:
        UserError: If the file is missing, not YAML, or breaks a rule.
    """
    return with_absolute_paths(_load(path, overrides, ExperimentConfig, what="experiment"))


def load_training(path: Path, overrides: Mapping[str, Any]) -> TrainingConfig:
    """Reads the config of a run at `path` and applies `overrides`.

    Raises:
        UserError: If the file is missing, not YAML, or breaks a rule.
    """
    config = _load(path, overrides, TrainingConfig, what="run")
    sections = config.trial.model_dump(mode="json").items()
    absolute = {f"trial.{name}": _absolute(section, name) for name, section in sections}
    runs_dir = str(Path(config.runs_dir).expanduser().absolute())
    return with_overrides(config, {**absolute, "runs_dir": runs_dir})


def with_recipe(name: str, path: Path, overrides: Mapping[str, Any]) -> TrainingConfig:
    """Reads the config of a run, applies a published recipe to its trial, then `overrides`.

    Raises:
        UserError: As `load_training`, and if there is no such recipe or it does not suit the run.
    """
    recipe, config = find_recipe(name), load_training(path, {})
    values = overrides_for(recipe, config.trial.model)
    of_recipe = {f"trial.{path}": value for path, value in values.items()}
    return override_or_refuse(config, {**of_recipe, **overrides}, what=f"{path} by recipe {name}")


def _load(path: Path, overrides: Mapping[str, Any], kind: type[C], *, what: str) -> C:
    tree = _read_yaml(path, what)
    try:
        config = kind.model_validate(tree)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in explain(error, kind))
        raise UserError(f"{path} is not a valid {what}:\n{lines}") from error
    return override_or_refuse(config, overrides, what=str(path))


def with_absolute_paths(experiment: ExperimentConfig) -> ExperimentConfig:
    """Resolves paths here: a trial has another working directory."""
    overrides: dict[str, Any] = {
        f"base.{name}": _absolute(section, name)
        for name, section in experiment.base.model_dump(mode="json").items()
    }
    overrides["runs_dir"] = str(Path(experiment.runs_dir).expanduser())
    promotion = experiment.promotion
    overrides["promotion.overrides"] = _absolute_values(promotion.overrides)
    overrides["promotion.before"] = [
        {"keep": stage.keep, "overrides": _absolute_values(stage.overrides)}
        for stage in promotion.before
    ]
    overrides["warm_start"] = [
        start
        if isinstance(start, str)
        else {"study": str(Path(start.study).expanduser().absolute()), "top": start.top}
        for start in experiment.warm_start
    ]
    for name, axis in experiment.space.items():
        if isinstance(axis, ChoiceAxis):
            choices = [_absolute(at, name) for at in axis.choices]
            overrides[f"space.{name}"] = {**axis.model_dump(mode="json"), "choice": choices}
    return with_overrides(experiment, overrides)


def _absolute_values(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {path: _absolute(value, path) for path, value in overrides.items()}


def _absolute(value: Any, where: str) -> Any:
    """Returns `value`, what stands at the dotted path `where` of a trial, with absolute paths."""
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value).items()
        return {name: _absolute(field, f"{where}.{name}") for name, field in fields}
    return str(Path(value).expanduser().absolute()) if value and where in PATHS else value


def dump_config(config: ExperimentConfig | TrainingConfig) -> str:
    """Returns a resolved config as YAML that is read back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(path: Path, what: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the {what} {path} is not a text file") from error
    except yaml.YAMLError as error:
        raise UserError(f"the {what} {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"the {what} {path} must be a mapping of fields, got {type(tree).__name__}")
    return tree
