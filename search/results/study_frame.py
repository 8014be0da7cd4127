"""The tables of a search for Python: `from search import load_study`.

They are read from the records, not from the files of `rampart report`, so that they are those of
this moment while a search runs. `attrs` of each table hold `name`, `folder` (its path) and `rungs`
(epochs, the last one included).
"""

from pathlib import Path

import pandas as pd

from search.books.records import read_promoted, read_records
from search.folder import SearchFolder
from search.load import load_experiment
from search.places import find_search
from search.results.rung_tables import full_runs_frame, rungs_frame
from search.results.table import trials_frame
from search.results.trust import all_rungs


def load_study(name_or_path: str | Path) -> pd.DataFrame:
    """Returns a row per trial of a search, given its name under `runs/` or its folder.

    Raises:
        UserError: If there is no such search.
    """
    folder = find_search(str(name_or_path))
    return _labelled(trials_frame(read_records(folder.trials)), folder)


def load_rungs(name_or_path: str | Path) -> pd.DataFrame:
    """Returns a row for each rung that each trial of a search reached; see `load_study`."""
    folder = find_search(str(name_or_path))
    return _labelled(rungs_frame(read_records(folder.trials)), folder)


def load_full_runs(name_or_path: str | Path) -> pd.DataFrame:
    """Returns a row per full run of a search, with its trial's rungs; see `load_study`."""
    folder = find_search(str(name_or_path))
    frame = full_runs_frame(read_promoted(folder.promoted), read_records(folder.trials))
    return _labelled(frame, folder)


def _labelled(frame: pd.DataFrame, folder: SearchFolder) -> pd.DataFrame:
    experiment = load_experiment(folder.config, {})
    rungs = all_rungs(experiment)
    frame.attrs = {"name": experiment.name, "folder": str(folder.root), "rungs": rungs}
    return frame
