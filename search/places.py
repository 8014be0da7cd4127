"""Which folder a search has: found by its name, refused where it is taken, created whole."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.load import dump_config

DEFAULT_RUNS = Path("runs")


def refuse_folder(root: Path, *, way_on: str) -> None:
    """Raises UserError, before Ray starts, if the folder `root` is taken or out of reach."""
    try:
        is_taken = root.exists()
        there = next(parent for parent in root.parents if parent.exists())
    except OSError as error:  # a parent that may not be entered, or a name that is too long
        raise _not_writable(root, error.strerror or str(error)) from error
    if is_taken:
        raise UserError(f"{root} exists already; {way_on}, and name=ANOTHER begins anew")
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
    from search.books.study import create_study

    def fill(draft: Path) -> None:
        drafted = SearchFolder(root=draft)
        drafted.config.write_text(dump_config(experiment))
        create_study(drafted, experiment)

    folder = folder_of(experiment)
    refuse_folder(folder.root, way_on=way_on_with(folder))
    create_root(folder.root, fill)
    return folder


def folder_of(experiment: ExperimentConfig) -> SearchFolder:
    """Returns where a new search lies."""
    return SearchFolder(root=Path(experiment.runs_dir).absolute() / experiment.name)


def way_on_with(folder: SearchFolder) -> str:
    """Returns how to go on with a search whose name is taken."""
    return f"`rampart resume {name_of(folder)}` goes on with it"


def _not_writable(root: Path, reason: str) -> UserError:
    return UserError(
        f"runs_dir {str(root.parent)!r} cannot be written: {reason}; "
        "choose another with runs_dir=PATH"
    )


def is_search(name: str) -> bool:
    """Whether a search has that name under `runs/`, or that path."""
    return any(_is_root(root) for root in (DEFAULT_RUNS / name, Path(name)))


def _is_root(root: Path) -> bool:
    return os.path.isfile(root / "config.yaml")  # false where it cannot be looked at


def find_search(name: str) -> SearchFolder:
    """Returns the folder of a search, given its name under `runs/` or the folder's path.

    Raises:
        UserError: If there is none.
    """
    for root in (DEFAULT_RUNS / name, Path(name)):
        if _is_root(root):
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
