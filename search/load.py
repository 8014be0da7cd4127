"""From a YAML file and dotted overrides to an `ExperimentConfig`, with clear messages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from search.config import ExperimentConfig
from search.errors import UserError, explain
from search.overrides import override_or_refuse, with_overrides
from search.space import ChoiceAxis

INIT = "weights.init"
PATHS = (INIT, "data.path", "data.test_path")
"""Fields of a trial that name a file or folder."""


def load_experiment(path: Path, overrides: Mapping[str, Any]) -> ExperimentConfig:
    """Reads the experiment at `path` and applies `overrides`.

    Raises:
        UserError: If the file is missing, not YAML, or breaks a rule.
    """
    tree = _read_yaml(path)
    try:
        experiment = ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in explain(error, ExperimentConfig))
        raise UserError(f"{path} is not a valid experiment:\n{lines}") from error
    return _with_absolute_paths(override_or_refuse(experiment, overrides, what=str(path)))


def _with_absolute_paths(experiment: ExperimentConfig) -> ExperimentConfig:
    """Resolves paths here: a trial has another working directory."""
    overrides: dict[str, Any] = {}
    base = experiment.base.model_dump(mode="json")
    for path in PATHS:
        section, field = path.split(".")
        if there := base[section].get(field):
            overrides[f"base.{path}"] = _absolute(there)
    if there := experiment.promotion.overrides.get(INIT):
        overrides[f"promotion.overrides.{INIT}"] = _absolute(there)
    axis = experiment.space.get(INIT)
    if isinstance(axis, ChoiceAxis):
        overrides[f"space.{INIT}"] = {"choice": [_absolute(path) for path in axis.choices]}
    return with_overrides(experiment, overrides) if overrides else experiment


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""


def dump_experiment(config: ExperimentConfig) -> str:
    """Returns the resolved experiment as YAML that `load_experiment` reads back unchanged."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read the experiment {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the experiment {path} is not a text file") from error
    except yaml.YAMLError as error:
        raise UserError(f"the experiment {path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(
            f"the experiment {path} must be a mapping of fields, got {type(tree).__name__}"
        )
    return tree
