"""What each command does, in the order in which it happens; `search/cli.py` only reads arguments.

Torch and Ray are imported where a command needs them, so that `rampart status` answers at once.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from search.config import ExperimentConfig
from search.errors import NothingToShowError, UserError
from search.folder import SearchFolder
from search.load import dump_config, load_experiment
from search.lock import is_locked, locked
from search.preflight import check_constraints, check_data, check_models
from search.records import FullRun, read_promoted, read_records
from trainers.metrics import Progress

DEFAULT_RUNS = Path("runs")
RESUME = "rampart resume"


def search(experiment: ExperimentConfig, *, address: str | None, console: Console) -> None:
    """Creates the folder of a new search, once it can run, and runs it to the end."""
    check_data(experiment)
    check_models(experiment)
    check_constraints(experiment)
    folder = _folder_of(experiment)
    refuse_folder(folder.root, way_on=_way_on(folder))
    with _connected(address, experiment):
        folder = create_folder(experiment)
        console.print(f"search {experiment.name}: {folder.root}", soft_wrap=True)
        with locked(folder.root, again=RESUME):
            _run(folder, experiment, console, top_k=experiment.promotion.top_k, with_trials=True)


def resume(folder: SearchFolder, *, address: str | None, console: Console) -> None:
    """Runs whatever is missing: trials, promotion, reference evaluation, report."""
    experiment = read_experiment(folder)
    with locked(folder.root, again=RESUME), _connected(address, experiment):
        _run(folder, experiment, console, top_k=experiment.promotion.top_k, with_trials=True)


def promote(folder: SearchFolder, *, top_k: int, address: str | None, console: Console) -> None:
    """Runs the best `top_k` trials, and the default, at full scale; finished ones are kept."""
    experiment = read_experiment(folder)
    with locked(folder.root, again=RESUME), _connected(address, experiment):
        _run(folder, experiment, console, top_k=top_k, with_trials=False)


def _run(
    folder: SearchFolder,
    experiment: ExperimentConfig,
    console: Console,
    *,
    top_k: int,
    with_trials: bool,
) -> None:
    from search.promote import promote_best
    from search.report import write_report

    try:
        if with_trials:
            _run_trials(folder, experiment, console)
        promote_best(folder, experiment, top_k=top_k, console=console)
    except (UserError, NothingToShowError):
        write_report(folder)
        raise
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
    from search.progress import status_table

    experiment = read_experiment(folder)
    promoted = [
        (run_with_progress(folder, r), result) for r, result in read_promoted(folder.promoted)
    ]
    console.print(status_table(read_records(folder.trials), experiment, promoted))
    if not is_locked(folder.root):
        name = name_of(folder)
        console.print(f"No process is working on it; `rampart resume {name}` runs what is missing.")


def report(folder: SearchFolder, console: Console) -> None:
    """Writes tables and report anew from what is on disk."""
    from search.report import write_report
    from search.table import write_tables

    write_tables(folder, read_records(folder.trials))
    console.print(f"report: {write_report(folder)}")


def refuse_folder(root: Path, *, way_on: str) -> None:
    """Raises UserError, before Ray starts, if the folder `root` is taken or out of reach."""
    if root.exists():
        raise UserError(f"{root} exists already; {way_on}, and name=ANOTHER begins anew")
    there = next(parent for parent in root.parents if parent.exists())
    if not there.is_dir():
        raise _not_writable(root, f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _not_writable(root, f"no permission to write in {there}")


def create_root(root: Path, fill: Callable[[Path], None]) -> None:
    """Creates the folder `root` with what `fill` writes into it, whole or not at all.

    Raises:
        UserError: If it is there, or cannot be written.
    """
    draft = root.with_name(f".{root.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        try:
            fill(draft)
            os.rename(draft, root)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise _not_writable(root, error.strerror or str(error)) from error


def create_folder(experiment: ExperimentConfig) -> SearchFolder:
    """Creates `runs_dir/name` with config and study, whole or not at all.

    Raises:
        UserError: If the name is taken or the folder cannot be written.
    """
    from search.study import create_study

    def fill(draft: Path) -> None:
        drafted = SearchFolder(root=draft)
        drafted.config.write_text(dump_config(experiment))
        create_study(drafted, experiment)

    folder = _folder_of(experiment)
    refuse_folder(folder.root, way_on=_way_on(folder))
    create_root(folder.root, fill)
    return folder


def _folder_of(experiment: ExperimentConfig) -> SearchFolder:
    return SearchFolder(root=Path(experiment.runs_dir).absolute() / experiment.name)


def _way_on(folder: SearchFolder) -> str:
    return f"`rampart resume {name_of(folder)}` goes on with it"


def _not_writable(root: Path, reason: str) -> UserError:
    return UserError(
        f"runs_dir {str(root.parent)!r} cannot be written: {reason}; "
        "choose another with runs_dir=PATH"
    )


def find_search(name: str) -> SearchFolder:
    """Returns the folder of a search, given its name under `runs/` or the folder's path.

    Raises:
        UserError: If there is none.
    """
    for root in (DEFAULT_RUNS / name, Path(name)):
        if (root / "config.yaml").is_file():
            return SearchFolder(root=root.absolute())
    there = sorted(path.parent.name for path in DEFAULT_RUNS.glob("*/config.yaml"))
    raise UserError(
        f"no search {name!r} under {DEFAULT_RUNS.absolute()}; there are: "
        f"{', '.join(there) or 'none'} (a search elsewhere is named by its folder's path)"
    )


def name_of(folder: SearchFolder) -> str:
    """Returns what a user types to name the search: its name under `runs/`, or else its path."""
    is_near = folder.root.parent == DEFAULT_RUNS.absolute()
    return folder.root.name if is_near else str(folder.root)


def run_with_progress(folder: SearchFolder, run: FullRun) -> FullRun:
    """Returns a full run with what it has reported so far; its record gets that at its end."""
    path = folder.promoted / run.key / "progress.json"
    if run.progress is not None or not path.exists():
        return run
    progress = Progress.model_validate_json(path.read_text())
    return run.model_copy(update={"progress": progress})


def read_experiment(folder: SearchFolder) -> ExperimentConfig:
    """Returns the resolved experiment of a search."""
    return load_experiment(folder.config, {})


def _run_trials(folder: SearchFolder, experiment: ExperimentConfig, console: Console) -> None:
    from search.cluster.tuner import run_trials
    from search.ledger import Ledger
    from search.progress import ProgressView
    from search.study import open_study
    from search.table import write_tables

    study = open_study(folder, experiment)
    with ProgressView(
        console,
        total_trials=experiment.budget.trials,
        concurrent=experiment.resources.concurrent_trials,
    ) as view:
        ledger = Ledger(folder, experiment, study, on_change=view.show)
        if not ledger.is_finished:
            run_trials(folder, experiment, ledger)
    write_tables(folder, ledger.records)
    if ledger.stuck:
        raise NothingToShowError(
            f"{ledger.stuck}; `rampart promote {name_of(folder)}` promotes what was found"
        )
    if not ledger.is_finished:
        raise NothingToShowError(
            f"the search ended early; `rampart resume {name_of(folder)}` goes on with it"
        )
