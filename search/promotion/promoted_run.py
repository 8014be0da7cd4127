"""A full run, or a stage before it, as it is before it starts: config, lineage, payload.

`promoted/KEY` is the full run of a trial or of the untuned default, `promoted/KEY-si` its
repetition i with another training seed, and `promoted/stages/1/KEY` the trial at the first stage.
"""

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from search.books.records import FullRun, TrialRecord, read_promoted
from search.cluster.connect import describe_hardware
from search.cluster.full_runs import FullRunPayload
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.overrides import with_overrides
from search.payload import DriverPayload
from search.promotion.config import Overrides
from search.promotion.verdict import DEFAULT
from search.source import ROOT
from trainers.config import config_hash

RECORDED = ("torch", "timm", "ray", "optuna", "pyautoattack")


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """Who is trained next: a trial, or the untuned default."""

    record: TrialRecord | None
    """None: the default."""
    parent: str
    """As in `FullRun`."""


def finalist(record: TrialRecord) -> Finalist:
    """Returns a trial that was just chosen."""
    return Finalist(record=record, parent=f"trials/{record.key}")


def runs_folder(folder: SearchFolder, stage: int | None) -> Path:
    """Returns the folder of the full runs, or of those of a stage, counted from 1."""
    return folder.promoted if stage is None else folder.promoted / "stages" / str(stage)


def plan_run(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    who: Finalist,
    *,
    overrides: Overrides,
    repeat: int,
    stage: int | None,
) -> FullRun:
    """Returns the run as it was begun, if it was: its lineage is the code that trained it."""
    record = who.record
    config = with_overrides(experiment.base if record is None else record.config, overrides)
    config = with_overrides(config, {"seed": config.seed + repeat})
    key = f"{DEFAULT if record is None else record.key}{f'-s{repeat}' if repeat else ''}"
    for begun, _ in read_promoted(runs_folder(folder, stage)):
        if begun.config == config and begun.key == key and begun.status != "failed":
            return begun
    return FullRun(
        key=key,
        repeat=repeat,
        stage=stage,
        parent=who.parent,
        study=experiment.name,
        trial_number=None if record is None else record.number,
        origin=DEFAULT if record is None else record.origin,
        trial_config_hash=None if record is None else record.config_hash,
        trial_diagnoses=() if record is None else record.diagnoses,
        config=config,
        config_hash=config_hash(config),
        commit=_commit(),
        versions={"python": platform.python_version(), **{p: version(p) for p in RECORDED}},
        hardware=describe_hardware(),
        status="running",
        reason="",
        progress=None,
    )


def is_finished(folder: SearchFolder, run: FullRun) -> bool:
    """Whether this very config was trained and, if it is no stage, evaluated."""
    return any(
        there.key == run.key
        and there.config_hash == run.config_hash
        and there.status == "completed"
        and (run.stage is not None or result is not None)
        for there, result in read_promoted(runs_folder(folder, run.stage))
    )


def payload_of(folder: SearchFolder, experiment: ExperimentConfig, run: FullRun) -> FullRunPayload:
    """Returns what the driver of a run needs; a stage is never shown the test split."""
    root = runs_folder(folder, run.stage) / run.key
    base = experiment.base
    return FullRunPayload(
        driver=DriverPayload(
            key=run.key,
            run=run.key if run.stage is None else f"stage{run.stage}-{run.key}",
            trial=run.config,
            rungs=(),
            early_check=experiment.early_check,
            race=None,
            resources=experiment.resources,
            checkpoints=experiment.checkpoints,
            checkpoint=str(root / "checkpoint"),
            clean_starts=str(folder.clean_starts),
            manifests=str(folder.manifests),
            # Another seed has a clean training of its own, or part of its noise would be missed.
            clean_recipe=with_overrides(base, {"seed": base.seed + run.repeat}),
            storage=str(folder.ray / "full"),
        ),
        reference=experiment.reference if run.stage is None else None,
        folder=str(root),
    )


@cache
def _commit() -> str:
    """Returns the commit of the checkout that this file is in, if it is in one of its own."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != ROOT:
            return "unknown"
        changed = git("status", "--porcelain")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
