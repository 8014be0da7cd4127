"""What trials of earlier searches took, for the plan of the next one."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from search.books.records import TrialRecord, read_records
from trainers.config import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What the records under a folder of searches say."""

    step_seconds: tuple[float, ...]
    """Seconds per step, of each epoch of the trials that trained alike."""
    startup_s: tuple[float, ...]
    """Of each trial, whatever it trained."""
    searches: int
    """Folders that they are from."""


def read_earlier(runs_dir: Path, trial: TrialConfig) -> Earlier:
    """Reads the records of all searches under `runs_dir` whose records can still be read.

    Trials are like `trial` if model, resolution, attack, objective, batch and computation agree;
    augmentation and optimiser take little of a step.
    """
    found = [
        records for folder in sorted(runs_dir.glob("*/trials")) if (records := _readable(folder))
    ]
    everything = [record for records in found for record in records]
    alike = [record for record in everything if _kind(record.config) == _kind(trial)]
    return Earlier(
        step_seconds=tuple(second for record in alike for second in _step_seconds(record)),
        startup_s=tuple(r.startup_s for r in everything if r.startup_s is not None),
        searches=len(found),
    )


def _readable(folder: Path) -> list[TrialRecord]:
    try:
        return read_records(folder)
    except ValidationError:
        return []


def _kind(trial: TrialConfig) -> tuple[object, ...]:
    attack = trial.attack
    return (
        trial.model,
        trial.data.resolution,
        (attack.name, attack.steps, attack.fraction, attack.also, trial.objective.name),
        (trial.batch_size, trial.compute),
    )


def _step_seconds(record: TrialRecord) -> list[float]:
    from trainers.plan import steps_per_epoch

    images = record.config.data.train_images
    if images == "all":
        return []
    steps = steps_per_epoch(record.config, images)
    # The trainings on rungs below may have had other images.
    return [epoch.seconds / steps for epoch in record.progress.history] if record.progress else []
