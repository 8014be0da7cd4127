"""Copies of trials in a population: queued in the study, then begun from another's weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from search.books.observing import observe
from search.books.records import RungTraining, TrialRecord
from search.config import ExperimentConfig
from search.space.space import encode
from search.strategy.population import donor_of, explore

COPIES_ATTR = "copies"
"""Key of the trial that a sample was copied from,"""
REPLACES_ATTR = "replaces"
"""of the one whose place it takes,"""
RUNG_ATTR = "rung"
"""and the epochs of the rung where."""


def copy_attrs(donor: str, *, replaces: str, rung: int) -> dict[str, Any]:
    """Returns what the study notes of a queued copy.

    Args:
        donor, replaces: Keys of trials.
        rung: Epochs of the rung where it begins.
    """
    return {COPIES_ATTR: donor, REPLACES_ATTR: replaces, RUNG_ATTR: rung}


def queue_copies(
    experiment: ExperimentConfig, study: optuna.Study, records: Sequence[TrialRecord]
) -> None:
    """Queues a changed copy for each trial that gave way and has no successor yet."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING))
    succeeded = {record.replaces for record in records}
    succeeded |= {trial.user_attrs.get(REPLACES_ATTR, "") for trial in waiting}
    for leaver in records:
        if leaver.gave_way_at and leaver.key not in succeeded:
            _queue(experiment, study, records, leaver)


def _queue(
    experiment: ExperimentConfig,
    study: optuna.Study,
    records: Sequence[TrialRecord],
    leaver: TrialRecord,
) -> None:
    number = len(study.get_trials(deepcopy=False))
    entropy = np.random.SeedSequence([experiment.sampler.seed, number]).generate_state(2)
    trials = {trial.number: trial for trial in observe(experiment, records)}
    level = experiment.ladder.level_of(leaver.gave_way_at, epochs=leaver.config.epochs)
    assert level is not None, "it gave way at a rung"
    donor = donor_of(
        list(trials.values()),
        experiment.ladder,
        leaver=trials[leaver.number],
        level=level,
        seed=int(entropy[0]),
    )
    if donor is None:
        return
    sample = explore(dict(donor.params), experiment.space, seed=int(entropy[1]))
    study.enqueue_trial(
        {name: encode(value) for name, value in sample.items()},
        user_attrs=copy_attrs(f"t{donor.number:05d}", replaces=leaver.key, rung=leaver.gave_way_at),
    )


def inherit(
    experiment: ExperimentConfig,
    record: TrialRecord,
    attrs: Mapping[str, object],
    records: Mapping[str, TrialRecord],
) -> TrialRecord:
    """Returns a new trial as it goes on from the trainings of the one that it copies, if it does.

    Args:
        attrs: Of the queued trial.
    """
    if COPIES_ATTR not in attrs:
        return record
    donor, rung = records[str(attrs[COPIES_ATTR])], int(str(attrs[RUNG_ATTR]))
    ladder, epochs = experiment.ladder, record.config.epochs
    below = [
        one.model_copy(update={"owner": one.owner or donor.key})
        for one in (*donor.below, *_standing(donor))
        if one.rung <= rung
    ]
    level = ladder.level_of(rung, epochs=epochs)
    assert level is not None, "copies are made at rungs"
    update = {
        "origin": f"copy:{donor.key}",
        "replaces": str(attrs[REPLACES_ATTR]),
        "below": tuple(below),
        "epochs_before": rung,
        "goal": ladder.epoch_of(level + 1, epochs=epochs),
        "first": level + 1,  # what the other showed below is not counted twice
        "bracket": donor.bracket,
    }
    return record.model_copy(update=update)


def _standing(donor: TrialRecord) -> list[RungTraining]:
    """Returns the training that the donor is in, or ended with."""
    if donor.progress is None:
        return []
    rung = donor.config.epochs if donor.goal is None else donor.goal
    return [RungTraining(rung=rung, epochs_before=donor.epochs_before, progress=donor.progress)]
