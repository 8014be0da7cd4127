"""From the best trials, over stages, to full runs, their reference evaluation and their verdict.

The untuned default is trained beside them at the same budget, once per search and seed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evaluation.diagnosis_config import DiagnosisConfig
from evaluation.masking_report import MaskingReport
from search.books.diagnosing import diagnose_history, latest_of_each
from search.books.records import FullRun, read_promoted, read_records, write_full_run
from search.cluster.driver import Failure
from search.cluster.full_runs import run_full
from search.config import ExperimentConfig
from search.errors import NothingToShowError
from search.folder import SearchFolder
from search.load import dump_config
from search.places import name_of
from search.promotion.card import model_card
from search.promotion.choice import (
    cost_among,
    select_at_stage,
    select_by_number,
    select_for_promotion,
)
from search.promotion.config import PromotionConfig, StageConfig
from search.promotion.full_view import FullRunView, run_name
from search.promotion.lineage import read_stages, write_lineage
from search.promotion.promoted_run import (
    Finalist,
    finalist,
    is_finished,
    payload_of,
    plan_run,
    runs_folder,
)
from search.promotion.verdict import DEFAULT, Verdict, judge, verdict_lines
from search.resources import WorkersConfig
from search.training import TrainingConfig
from trainers.atomic import write_atomically
from trainers.metrics import Progress


def promote_best(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    *,
    promotion: PromotionConfig,
    trials: tuple[int, ...],
    console: Console,
) -> None:
    """Trains and evaluates what is missing of the chosen trials and the default.

    Args:
        promotion: Chooses the trials and says what their full runs are; the experiment's own, or
            what a user asked for instead.
        trials: Numbers of the trials that are promoted, without rule, floor and stages; empty: the
            rule chooses.

    Raises:
        UserError: If there is no such trial, or the trials were scored by different attacks.
        NothingToShowError: If no trial qualifies, or a run failed; the others end first.
    """
    records = read_records(folder.trials)
    if trials:
        selection = select_by_number(records, trials)
    else:
        cost = cost_among(experiment.objectives)
        selection = select_for_promotion(records, promotion, cost=cost)
    console.print(selection.words, soft_wrap=True)
    chosen = [finalist(record) for record in selection.records]
    for number, stage in enumerate(() if trials else promotion.before, start=1):
        chosen = _pass_stage(folder, experiment, chosen, stage, number=number, console=console)
    runs = [
        plan_run(folder, experiment, who, overrides=promotion.overrides, repeat=repeat, stage=None)
        for repeat in range(promotion.seeds)
        for who in [*chosen, Finalist(record=None, parent="")]
    ]
    _run_missing(folder, experiment, runs, console)
    verdict = write_outcome(folder)
    if verdict:
        console.print("\n".join(verdict_lines(verdict)), soft_wrap=True)
    entered = set() if trials else {record.key for record in selection.records}
    asked = {run.key for run in runs}
    failed = [
        run
        for run, _ in [*read_stages(folder), *read_promoted(folder.promoted)]
        if run.status == "failed" and run.key in (asked if run.stage is None else entered)
    ]
    if failed:
        reasons = "; ".join(f"{run_name(run)}: {run.reason}" for run in failed)
        again = f"rampart promote {name_of(folder)}"
        raise NothingToShowError(f"full runs failed ({reasons}); `{again}` tries again")


def training_of(experiment: ExperimentConfig, run: FullRun) -> TrainingConfig:
    """Returns a full run as what `rampart train` takes, for whoever wants it again or otherwise.

    A clean training before it goes by its own recipe there, not by the search's base.
    """
    resources = experiment.resources.model_dump(exclude={"concurrent_trials"})
    stage = "" if run.stage is None else f"-stage{run.stage}"
    return TrainingConfig(
        name=f"{experiment.name}{stage}-{run.key}",
        runs_dir=experiment.runs_dir,
        trial=run.config,
        validation=experiment.early_check,
        diagnosis=experiment.diagnosis,
        resources=WorkersConfig.model_validate(resources),
        checkpoints=experiment.checkpoints,
        log_to=("tensorboard",),
    )


def write_outcome(folder: SearchFolder) -> Verdict | None:
    """Writes the verdict, the model card of every full run that has a result, and the lineage.

    Returns:
        The verdict; None where there is nothing to compare, and no `verdict.json` then.
    """
    promoted = read_promoted(folder.promoted)
    verdict, path = judge(promoted), folder.promoted / "verdict.json"
    if verdict:
        write_atomically(path, verdict.model_dump_json(indent=1))
    else:
        path.unlink(missing_ok=True)
    _write_cards(folder, verdict)
    write_lineage(folder, [*read_stages(folder), *promoted], verdict)
    return verdict


def _write_cards(folder: SearchFolder, verdict: Verdict | None) -> None:
    finished = [(run, result) for run, result in read_promoted(folder.promoted) if result]
    default = next((pair for pair in finished if pair[0].key == DEFAULT), None)
    for run, result in finished:
        beside = None if run.trial_number is None else default
        path = folder.promoted / run.key / "masking.json"
        found = MaskingReport.model_validate_json(path.read_bytes()) if path.exists() else None
        report = found if found and found.model_hash == result.model_hash else None
        sentences = verdict_lines(verdict) if verdict else ()
        card = model_card(run, result, default=beside, masking=report, verdict=sentences)
        write_atomically(folder.promoted / run.key / "model_card.md", card)


def _pass_stage(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    entering: Sequence[Finalist],
    stage: StageConfig,
    *,
    number: int,
    console: Console,
) -> list[Finalist]:
    """Trains all who enter a stage and returns those who go on; without a choice, trains none."""
    if len(entering) <= stage.keep:
        return list(entering)
    runs = [
        plan_run(folder, experiment, who, overrides=stage.overrides, repeat=0, stage=number)
        for who in entering
    ]
    _run_missing(folder, experiment, runs, console)
    keys = {run.key for run in runs}
    there = [run for run, _ in read_promoted(runs_folder(folder, number)) if run.key in keys]
    kept = select_at_stage(there, keep=stage.keep)
    if not kept:
        reasons = "; ".join(f"{run_name(run)}: {run.reason or 'not checked'}" for run in there)
        raise NothingToShowError(f"no trial passed stage {number} ({reasons})")
    console.print(f"stage {number}: {', '.join(run.key for run in kept)} go on", soft_wrap=True)
    by_key = {who.record.key: who.record for who in entering if who.record}
    return [
        Finalist(record=by_key[run.key], parent=f"promoted/stages/{number}/{run.key}")
        for run in kept
    ]


def _run_missing(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    runs: Sequence[FullRun],
    console: Console,
) -> None:
    """Runs those of one stage, or the full runs, that are not finished; a failure is a record."""
    missing = [run for run in runs if not is_finished(folder, run)]
    if not missing:
        return
    root = runs_folder(folder, missing[0].stage)
    for run in missing:
        set_aside(root, run)
        write_full_run(root, run)
        config = training_of(experiment, run)
        write_atomically(root / run.key / "run.yaml", dump_config(config))
    by_key = {run.key: run for run in missing}
    with FullRunView(root, missing, console) as view:
        run_full(
            [payload_of(folder, experiment, run) for run in missing],
            concurrent=experiment.resources.concurrent_trials,
            on_end=lambda payload, failure: close_run(
                folder, by_key[payload.driver.key], failure, experiment.diagnosis
            ),
            on_poll=view.refresh,
        )


def set_aside(root: Path, run: FullRun) -> None:
    """Moves what an earlier config left under the run's key to `earlier/`: it is no part of it."""
    path = root / run.key / "record.json"
    if not path.exists():
        return
    before = FullRun.model_validate_json(path.read_text())
    if before.config_hash == run.config_hash:
        return
    earlier = root / "earlier" / f"{run.key}-{before.config_hash}"
    earlier.parent.mkdir(exist_ok=True)
    shutil.rmtree(earlier, ignore_errors=True)  # the same config, begun and left twice
    path.parent.rename(earlier)


def close_run(
    folder: SearchFolder, run: FullRun, failure: Failure | None, diagnosis: DiagnosisConfig
) -> None:
    """Records how a run ended, and what its curve shows."""
    root = runs_folder(folder, run.stage)
    path = root / run.key / "progress.json"
    progress = Progress.model_validate_json(path.read_text()) if path.exists() else None
    history = progress.history if progress else ()
    update = {
        "diagnoses": latest_of_each(diagnose_history(run.config, history, diagnosis)),
        "progress": progress,
        "status": "failed" if failure else "completed",
        "reason": failure.reason if failure else "",
    }
    write_full_run(root, run.model_copy(update=update))
