"""From what the study was asked to a trial's record, or to why it is none."""

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from search.books.asking import REJECTED_ATTR, RETRY_ATTR
from search.books.records import TrialRecord
from search.books.study import ORIGIN_ATTR, RECIPE_ATTR, set_constraints
from search.config import ExperimentConfig
from search.errors import explain
from search.recipes import RECIPES
from search.space.candidate import build_trial
from search.space.constraints import excess, measure, violations
from search.space.space import Sample, suggest
from search.strategy.ladder import bracket_of_next, first_goal
from search.strategy.observed import Observed
from trainers.config import TrialConfig, config_hash


def open_record(
    experiment: ExperimentConfig,
    study: optuna.Study,
    trial: optuna.trial.Trial,
    trials: Sequence[Observed],
) -> TrialRecord | str:
    """Returns the record of a new trial; or, where its sample can be none, why.

    The study is then told how far it is beyond each constraint, and ends it.
    """
    params = suggest(trial, experiment.space)
    recipe = trial.user_attrs.get(RECIPE_ATTR)
    try:
        config = build_trial(
            experiment.base,
            experiment.space,
            params,
            recipe=RECIPES[recipe] if recipe else None,
        )
    except ValidationError as error:  # between the ends of its axes, which were tried at load
        return _reject(experiment, study, trial, "; ".join(explain(error, TrialConfig)))
    if why := _violation(experiment, trial, config):
        return _reject(experiment, study, trial, why)
    ladder = experiment.ladder
    first = bracket_of_next(trials, ladder)
    return TrialRecord(
        key=f"t{trial.number:05d}",
        number=trial.number,
        origin=_origin(experiment, trial),
        params=params,
        config=config,
        config_hash=config_hash(config),
        status="paused",
        reason="",
        error="",
        sessions=0,
        node="",
        started_at=None,
        startup_s=None,
        finished_at=None,
        progress=None,
        goal=ladder.epoch_of(first_goal(ladder, first=first), epochs=config.epochs),
        first=first,
        bracket=_bracket(experiment, params, first),
        retry_of=trial.user_attrs.get(RETRY_ATTR, ""),
    )


def _origin(experiment: ExperimentConfig, trial: optuna.trial.Trial) -> str:
    if recipe := trial.user_attrs.get(RECIPE_ATTR):
        return f"recipe:{recipe}"
    return trial.user_attrs.get(ORIGIN_ATTR, experiment.sampler.name)


def _bracket(experiment: ExperimentConfig, params: Sample, first: int) -> str:
    ladder = experiment.ladder
    branch = [str(params[ladder.bracket_by])] if ladder.bracket_by else []
    return " ".join([*branch, *([f"from rung {first}"] if ladder.brackets > 1 else [])])


def _violation(experiment: ExperimentConfig, trial: optuna.trial.Trial, config: TrialConfig) -> str:
    """Tells the study how far the trial is beyond each constraint; returns the first it breaks."""
    if not experiment.constraints:
        return ""
    try:
        values = measure(config)
    except ValueError as error:  # such a combination cannot be built
        return str(error)
    set_constraints(trial, excess(experiment.constraints, values))
    return next(iter(violations(experiment.constraints, values)), "")


def _reject(
    experiment: ExperimentConfig, study: optuna.Study, trial: optuna.trial.Trial, why: str
) -> str:
    """Ends a sample that is no trial; one that told no excess is as bad as twice each bound."""
    set_constraints(trial, dict.fromkeys(experiment.constraints, 1.0))
    trial.set_user_attr(REJECTED_ATTR, why)
    study.tell(trial, state=TrialState.PRUNED)
    return why
