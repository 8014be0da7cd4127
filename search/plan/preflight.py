"""What is tried before a search or a run starts: its images, and every model it can make."""

from collections.abc import Iterator
from pathlib import Path

import optuna
from pydantic import ValidationError

from search.config import ExperimentConfig
from search.errors import UserError, explain
from search.overrides import with_overrides
from search.promotion.config import Overrides
from search.recipes import RECIPES
from search.space.candidate import build_trial, recipe_sample
from search.space.constraints import measure, violations
from search.space.space import ends, suggest
from trainers.config import TrialConfig
from trainers.data.config import DataConfig, StoredConfig

SAMPLES = 200
"""Random samples that are drawn in search of one that the constraints allow."""


def check_models(experiment: ExperimentConfig) -> None:
    """Builds the base model, and all that axes and recipes make of it, without weights, at once.

    Raises:
        UserError: If a model cannot be built, or cannot start from the weights that are named.
    """
    done = set[str]()
    for where, config in trials_to_check(experiment):
        built = config.model_dump_json(
            include={"data", "model", "weights", "freeze", "compute", "resolution_schedule"}
        )
        if built in done:
            continue
        done.add(built)
        _check_model(where, config)


def check_run(trial: TrialConfig) -> None:
    """Does for one trial alone what `check_data` and `check_models` do for a search.

    Raises:
        UserError: As they do.
    """
    _check_images("trial.data", trial.data)
    _check_model("trial", trial)


def _check_model(where: str, config: TrialConfig) -> None:
    from trainers.session import require_buildable

    try:
        require_buildable(config)
        _try_weights(config)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def check_data(experiment: ExperimentConfig) -> None:
    """Opens the images that trials and full runs train on, and looks that test images are there.

    Raises:
        UserError: If there are none, or not as many as asked for.
    """
    base = experiment.base
    _check_images("base.data", base.data)
    for where, overrides in full_overrides(experiment):
        _check_images(where, with_overrides(base, overrides).data)


def _check_images(where: str, data: DataConfig) -> None:
    from trainers.data.load import extra_split, select_split, train_split

    if not isinstance(data, StoredConfig):
        return
    try:
        train = train_split(data)
        select_split(data)
        if data.extra.source != "none":
            extra_split(data.extra, train)
    except (ValueError, OSError) as error:
        raise UserError(f"{where}: {error}") from error
    if data.test_path and not Path(data.test_path).exists():
        raise UserError(f"{where}: data.test_path: there is nothing at {data.test_path}")


def _try_weights(config: TrialConfig) -> None:
    """Raises ValueError if the model cannot start from its weights; the hub is not asked."""
    from models.pretrained import timm_name
    from models.registry import build_model
    from trainers.start import load_start

    if config.weights.pretrained:
        timm_name(config.model)
    if init := config.weights.init:
        if not Path(init).is_absolute():
            raise ValueError(
                f"weights.init must be an absolute path here, got {init!r}: trials run in another "
                "folder; only in base, as an axis of its own and in promotion.overrides is it "
                "completed"
            )
        data = config.data
        model = build_model(config.model, num_classes=data.num_classes, resolution=data.resolution)
        load_start(model, config, None)


def check_constraints(experiment: ExperimentConfig) -> None:
    """Measures what recipes cost, and looks for a sample that the constraints allow.

    Raises:
        UserError: If a recipe violates a constraint, or every sample drawn does.
    """
    constraints = experiment.constraints
    if not constraints:
        return
    for where, config in _recipes(experiment):
        if violated := violations(constraints, measure(config)):
            raise UserError(
                f"{where} violates the constraints: {'; '.join(violated)}; widen them, or leave "
                "the recipe out"
            )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    violated: tuple[str, ...] = ()
    for _ in range(SAMPLES):
        sample = suggest(study.ask(), experiment.space)
        try:
            config = build_trial(experiment.base, experiment.space, sample, recipe=None)
            violated = violations(constraints, measure(config))
        except ValidationError as error:
            violated = tuple(explain(error, TrialConfig))
        except ValueError as error:
            violated = (str(error),)
        if not violated:
            return
    raise UserError(
        f"constraints: none of {SAMPLES} random samples of the space satisfies them (the last: "
        f"{'; '.join(violated)}); widen them or the space, and see `rampart cost`"
    )


def trials_to_check(experiment: ExperimentConfig) -> Iterator[tuple[str, TrialConfig]]:
    """Yields the base, every end of every axis and every recipe, as trials and as full runs."""
    base, space = experiment.base, experiment.space
    trials = [("base", base)]
    for sample in ends(space):
        name, value = list(sample.items())[-1]
        config = build_trial(base, space, sample, recipe=None)
        trials.append((f"space: with {name} = {value!r}", config))
    trials += _recipes(experiment)
    yield from trials
    for where, config in trials:
        for what, overrides in full_overrides(experiment):
            try:
                full = with_overrides(config, overrides)
            except ValidationError as error:
                rules = "; ".join(explain(error, TrialConfig))
                raise UserError(f"{what}, {where}: {rules}") from error
            yield f"{what}, {where}", full


def full_overrides(experiment: ExperimentConfig) -> list[tuple[str, Overrides]]:
    """Returns what full runs, and the stages before them, change in a trial, with its field."""
    stages = [
        (f"promotion.before.{place}.overrides", stage.overrides)
        for place, stage in enumerate(experiment.promotion.before)
    ]
    return [*stages, ("promotion.overrides", experiment.promotion.overrides)]


def _recipes(experiment: ExperimentConfig) -> Iterator[tuple[str, TrialConfig]]:
    for name in experiment.recipes:
        recipe = RECIPES[name]
        sample = recipe_sample(experiment.base, experiment.space, recipe)
        config = build_trial(experiment.base, experiment.space, sample, recipe=recipe)
        yield f"warm_start: recipe {name!r}", config
