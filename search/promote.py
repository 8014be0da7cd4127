"""From the best trials to full runs, their reference evaluation and their model cards.

The untuned default is trained beside them at the same budget, once per search.
"""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from evaluation.diagnosis_config import DiagnosisConfig
from evaluation.masking_report import MaskingReport
from search.card import model_card
from search.cluster.connect import describe_hardware
from search.cluster.driver import DriverPayload, Failure
from search.cluster.full_runs import FullRunPayload, run_full
from search.config import ExperimentConfig
from search.diagnosing import diagnose_history, latest_of_each
from search.errors import NothingToShowError
from search.folder import SearchFolder
from search.full_view import FullRunView
from search.load import dump_config
from search.overrides import with_overrides
from search.promotion import select_for_promotion
from search.records import (
    FullRun,
    TrialRecord,
    read_promoted,
    read_records,
    write_full_run,
)
from search.resources import WorkersConfig
from search.training import TrainingConfig
from trainers.atomic import write_atomically
from trainers.config import config_hash
from trainers.metrics import Progress

DEFAULT = "default"
PACKAGES = ("torch", "timm", "ray", "optuna", "pyautoattack")
ROOT = Path(__file__).resolve().parents[1]


def promote_best(
    folder: SearchFolder, experiment: ExperimentConfig, *, top_k: int, console: Console
) -> None:
    """Trains and evaluates what is missing of the best `top_k` trials and the default.

    Raises:
        NothingToShowError: If no trial qualifies, or a full run failed; the others end first.
    """
    records = read_records(folder.trials)
    floor = experiment.promotion.min_clean_accuracy
    chosen = select_for_promotion(records, top_k=top_k, min_clean_accuracy=floor)
    runs = [_full_run(folder, experiment, record) for record in [*chosen, None]]
    missing = [run for run in runs if not _is_finished(folder, run)]
    for run in missing:
        write_full_run(folder.promoted, run)
        config = training_of(experiment, run)
        write_atomically(folder.promoted / run.key / "run.yaml", dump_config(config))
    with FullRunView(folder, missing, console) as view:
        run_full(
            [_payload(folder, experiment, run) for run in missing],
            concurrent=experiment.resources.concurrent_trials,
            on_end=lambda payload, failure: _close(
                folder, payload.driver.key, failure, experiment.diagnosis
            ),
            on_poll=view.refresh,
        )
    write_cards(folder)
    failed = [run for run, _ in read_promoted(folder.promoted) if run.status == "failed"]
    if failed:
        reasons = "; ".join(f"{run.key}: {run.reason}" for run in failed)
        raise NothingToShowError(f"full runs failed ({reasons}); `rampart promote` tries again")


def training_of(experiment: ExperimentConfig, run: FullRun) -> TrainingConfig:
    """Returns a full run as what `rampart train` takes, for whoever wants it again or otherwise.

    A clean training before it goes by its own recipe there, not by the search's base.
    """
    resources = experiment.resources.model_dump(exclude={"concurrent_trials"})
    return TrainingConfig(
        name=f"{experiment.name}-{run.key}",
        runs_dir=experiment.runs_dir,
        trial=run.config,
        validation=experiment.early_check,
        diagnosis=experiment.diagnosis,
        resources=WorkersConfig.model_validate(resources),
        checkpoints=experiment.checkpoints,
        log_to=("tensorboard",),
    )


def write_cards(folder: SearchFolder) -> None:
    """Writes the model card of every full run that has a result."""
    finished = [(run, result) for run, result in read_promoted(folder.promoted) if result]
    default = next((pair for pair in finished if pair[0].key == DEFAULT), None)
    for run, result in finished:
        beside = None if run.key == DEFAULT else default
        path = folder.promoted / run.key / "masking.json"
        found = MaskingReport.model_validate_json(path.read_bytes()) if path.exists() else None
        report = found if found and found.model_hash == result.model_hash else None
        card = model_card(run, result, default=beside, masking=report)
        write_atomically(folder.promoted / run.key / "model_card.md", card)


def _full_run(
    folder: SearchFolder, experiment: ExperimentConfig, record: TrialRecord | None
) -> FullRun:
    """Returns the run as it was begun, if it was: its lineage is the code that trained it."""
    source = experiment.base if record is None else record.config
    config = with_overrides(source, experiment.promotion.overrides)
    for begun, _ in read_promoted(folder.promoted):
        is_same = begun.config == config and begun.key == (record.key if record else DEFAULT)
        if is_same and begun.status != "failed":
            return begun
    return FullRun(
        key=DEFAULT if record is None else record.key,
        study=experiment.name,
        trial_number=None if record is None else record.number,
        origin=DEFAULT if record is None else record.origin,
        trial_config_hash=None if record is None else record.config_hash,
        trial_diagnoses=() if record is None else record.diagnoses,
        config=config,
        config_hash=config_hash(config),
        commit=_commit(),
        versions={"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        hardware=describe_hardware(),
        status="running",
        reason="",
        progress=None,
    )


def _is_finished(folder: SearchFolder, run: FullRun) -> bool:
    """Whether this very config was trained and evaluated."""
    return any(
        there.key == run.key
        and there.config_hash == run.config_hash
        and there.status == "completed"
        and result is not None
        for there, result in read_promoted(folder.promoted)
    )


def _payload(folder: SearchFolder, experiment: ExperimentConfig, run: FullRun) -> FullRunPayload:
    root = folder.promoted / run.key
    return FullRunPayload(
        driver=DriverPayload(
            key=run.key,
            trial=run.config,
            rungs=(),
            early_check=experiment.early_check,
            race=None,
            resources=experiment.resources,
            checkpoints=experiment.checkpoints,
            checkpoint=str(root / "checkpoint"),
            clean_starts=str(folder.clean_starts),
            manifests=str(folder.manifests),
            clean_recipe=experiment.base,
            storage=str(folder.ray / "full"),
        ),
        reference=experiment.reference,
        folder=str(root),
    )


def _close(
    folder: SearchFolder, key: str, failure: Failure | None, diagnosis: DiagnosisConfig
) -> None:
    run = next(run for run, _ in read_promoted(folder.promoted) if run.key == key)
    path = folder.promoted / key / "progress.json"
    progress = Progress.model_validate_json(path.read_text()) if path.exists() else None
    history = progress.history if progress else ()
    update = {
        "diagnoses": latest_of_each(diagnose_history(run.config, history, diagnosis)),
        "progress": progress,
        "status": "failed" if failure else "completed",
        "reason": failure.reason if failure else "",
    }
    write_full_run(folder.promoted, run.model_copy(update=update))


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
