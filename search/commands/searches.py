"""What each command does, in the order in which it happens; `search/cli.py` only reads arguments.

Torch and Ray are imported where a command needs them, so that `rampart status` answers at once.
"""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from search.books.drivers import registered
from search.books.extending import extended, require_same_reference, write_extended
from search.books.records import FullRun, read_promoted, read_records
from search.books.spending import Clock
from search.config import ExperimentConfig
from search.errors import NothingToShowError, UserError
from search.folder import SearchFolder
from search.load import load_experiment
from search.lock import is_locked, locked
from search.overrides import override_or_refuse
from search.places import (
    create_folder,
    find_search,
    folder_of,
    is_search,
    name_of,
    refuse_folder,
    way_on_with,
)
from search.plan.preflight import check_constraints, check_data, check_models
from search.promotion.config import PromotionConfig
from trainers.metrics import Progress

RESUME = "rampart resume"


def search(experiment: ExperimentConfig, *, address: str | None, console: Console) -> None:
    """Creates the folder of a new search, once it can run, and runs it to the end."""
    from search.books.study import warm_starts

    check_data(experiment)
    check_models(experiment)
    check_constraints(experiment)
    warm_starts(experiment)
    folder = folder_of(experiment)
    refuse_folder(folder.root, way_on=way_on_with(folder))
    with _connected(address, experiment):
        folder = create_folder(experiment)
        console.print(f"search {experiment.name}: {folder.root}", soft_wrap=True)
        with locked(folder.root, again=f"{RESUME} {name_of(folder)}"):
            _run(folder, experiment, console)


def resume(
    folder: SearchFolder,
    *,
    overrides: Mapping[str, Any],
    added: Mapping[str, Any],
    retries_failed: bool,
    address: str | None,
    console: Console,
) -> None:
    """Runs whatever is missing: trials, promotion, reference evaluation, report.

    Args:
        overrides: Changes of the config that leave earlier trials comparable.
        added: Caps of the budget and what is added to them.
        retries_failed: Whether samples that failed are tried again, as new trials.
    """
    before = read_experiment(folder)
    experiment = extended(before, overrides, added)
    require_same_reference(folder, before, experiment)
    again = f"{RESUME} {name_of(folder)}"
    with locked(folder.root, again=again), _connected(address, experiment):
        write_extended(folder, before, experiment)
        if retries_failed:
            _queue_failed(folder, experiment, console)
        _run(folder, experiment, console)


def join(folder: SearchFolder, *, address: str | None, console: Console) -> None:
    """Runs trials of a search beside the process that works on it, until there are no more."""
    if not is_locked(folder.root):
        raise UserError(
            f"nobody works on {name_of(folder)}, so there is nobody to join; "
            f"`{RESUME} {name_of(folder)}` goes on with it"
        )
    experiment = read_experiment(folder)
    with _connected(address, experiment):
        _run_trials(folder, experiment, console)
    if not is_locked(folder.root):
        console.print(f"nobody else works on it any more; `{RESUME} {name_of(folder)}` promotes")


def promote(
    folder: SearchFolder,
    *,
    changes: Mapping[str, Any],
    trials: tuple[int, ...],
    address: str | None,
    console: Console,
) -> None:
    """Runs the chosen trials, and the default, at full scale; finished ones are kept.

    Args:
        changes: Fields of `promotion` and what they are this once.
        trials: Their numbers; empty: the rule chooses.
    """
    experiment = read_experiment(folder)
    entered = changes.get("top_k", experiment.promotion.top_k)
    stages = [stage.model_dump() for stage in experiment.promotion.before if stage.keep < entered]
    promotion = override_or_refuse(
        experiment.promotion, {"before": stages, **changes}, what="promotion"
    )
    again = f"rampart promote {name_of(folder)}"
    with locked(folder.root, again=again), _connected(address, experiment):
        _promote(folder, experiment, console, promotion=promotion, trials=trials)


def _run(folder: SearchFolder, experiment: ExperimentConfig, console: Console) -> None:
    from search.report.report import write_report

    try:
        _run_trials(folder, experiment, console)
    except (UserError, NothingToShowError):
        write_report(folder)
        raise
    if experiment.promotion.automatic:
        _promote(folder, experiment, console, promotion=experiment.promotion, trials=())
    else:
        write_report(folder)
        console.print(f"`rampart promote {name_of(folder)}` trains the best at full scale")


def _promote(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    console: Console,
    *,
    promotion: PromotionConfig,
    trials: tuple[int, ...],
) -> None:
    from search.promotion.promote import promote_best
    from search.report.report import write_report

    try:
        promote_best(folder, experiment, promotion=promotion, trials=trials, console=console)
    finally:
        write_report(folder)
    name = name_of(folder)
    console.print(
        f"\nresults   {folder.table('csv')} (and .parquet)\n"
        f"report    {folder.report / 'index.html'}\n"
        f"cards     {folder.promoted}/*/model_card.md\n"
        f"next      rampart status {name} | rampart promote {name} --top 2 | "
        f"rampart evaluate {folder.promoted}/default",
        soft_wrap=True,
    )


def _connected(address: str | None, experiment: ExperimentConfig) -> AbstractContextManager[None]:
    from search.cluster.connect import connected

    resources = experiment.resources
    return connected(address, resources, concurrent=resources.concurrent_trials)


def status(folder: SearchFolder, console: Console) -> None:
    """Prints what is known of a search, also while another process runs it."""
    from search.live.progress import status_table
    from search.promotion.lineage import read_stages

    experiment = read_experiment(folder)
    promoted = [
        (run_with_progress(folder, r), result)
        for r, result in [*read_stages(folder), *read_promoted(folder.promoted)]
    ]
    console.print(status_table(read_records(folder.trials), experiment, promoted))
    if not is_locked(folder.root):
        name = name_of(folder)
        console.print(f"No process is working on it; `rampart resume {name}` runs what is missing.")


def report(folder: SearchFolder, console: Console) -> None:
    """Writes tables and report anew from what is on disk; says how far trials can be trusted."""
    from search.report.report import write_report
    from search.results.trust import all_rungs, trust_lines

    page, experiment = write_report(folder), read_experiment(folder)
    records, promoted = read_records(folder.trials), read_promoted(folder.promoted)
    for line in trust_lines(records, promoted, rungs=all_rungs(experiment)):
        console.print(line, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)


def run_with_progress(folder: SearchFolder, run: FullRun) -> FullRun:
    """Returns a full run with what it has reported so far; its record gets that at its end."""
    stage = [] if run.stage is None else ["stages", str(run.stage)]
    path = folder.promoted.joinpath(*stage, run.key, "progress.json")
    if run.progress is not None or not path.exists():
        return run
    progress = Progress.model_validate_json(path.read_text())
    return run.model_copy(update={"progress": progress})


def compare(first: str, second: str) -> RenderableType:
    """Returns a page on two results, or on two searches.

    Raises:
        UserError: If they are not there, or cannot be compared.
    """
    from search.results.compare import compare_page
    from search.results.study_compare import compare_studies

    if any(is_search(name) for name in (first, second)):
        return compare_studies(find_search(first), find_search(second))
    return compare_page(Path(first), Path(second))


def read_experiment(folder: SearchFolder) -> ExperimentConfig:
    """Returns the resolved experiment of a search."""
    return load_experiment(folder.config, {})


def _run_trials(folder: SearchFolder, experiment: ExperimentConfig, console: Console) -> None:
    from search.books.ledger import Ledger
    from search.books.study import open_study
    from search.cluster.connect import cluster_address, require_prices
    from search.cluster.tuner import run_trials
    from search.live.progress import ProgressView
    from search.results.table import write_tables

    require_prices(experiment.budget.prices)
    study = open_study(folder, experiment)
    with (
        registered(folder) as driver,
        ProgressView(
            console,
            total_trials=experiment.budget.trials,
            concurrent=experiment.resources.concurrent_trials,
        ) as view,
    ):
        clock = Clock(folder.sittings / f"{driver}.json", cluster=cluster_address())
        ledger = Ledger(folder, experiment, study, on_change=view.show, driver=driver)
        if not ledger.is_finished:
            run_trials(folder, experiment, ledger, clock)
            ledger.suspend()
            while ledger.cap and not ledger.is_finished:
                time.sleep(1)  # another driver has still to see that it is over
        if ledger.is_finished and not ledger.cap:
            ledger.rest()
    write_tables(folder, ledger.records)
    name = name_of(folder)
    if ledger.stuck:
        raise NothingToShowError(
            f"{ledger.stuck}; `rampart promote {name}` promotes what was found"
        )
    if not ledger.is_finished:
        raise NothingToShowError(f"the search ended early; `{RESUME} {name}` goes on with it")
    if cap := ledger.cap:
        console.print(f"{cap}; `{RESUME} {name} --add-budget ...` goes on with its trials")


def _queue_failed(folder: SearchFolder, experiment: ExperimentConfig, console: Console) -> None:
    from search.books.ledger import Ledger
    from search.books.study import open_study

    ledger = Ledger(folder, experiment, open_study(folder, experiment), on_change=lambda _: None)
    console.print(f"{ledger.retry_failed()} failed trials will be tried again")
