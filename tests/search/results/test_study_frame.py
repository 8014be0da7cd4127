import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from records_factory import record, write_search

import search
from search import load_full_runs, load_rungs, load_study
from search.books.records import read_records, write_record
from search.errors import UserError
from search.results.rung_tables import rungs_frame
from search.results.table import trials_frame

HEAVY = ("torch", "ray", "pandas", "optuna", "matplotlib", "pydantic")


def test_importing_search_imports_nothing_heavy() -> None:
    code = f"import search, sys; print([m for m in {HEAVY} if m in sys.modules])"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_a_study_is_a_table_of_its_records_at_this_moment(tmp_path: Path) -> None:
    folder = write_search(tmp_path)
    before = load_study(folder.root)
    trial = record(12, params={"optim.lr": 0.001, "attack.name": "pgd", "model.depths": [1, 1]})

    write_record(folder.record(trial.key), trial)

    records = read_records(folder.trials)
    after = load_study(str(folder.root))
    assert (len(before), len(after)) == (12, 13)
    pd.testing.assert_frame_equal(after, trials_frame(records))
    pd.testing.assert_frame_equal(load_rungs(folder.root), rungs_frame(records))
    assert load_full_runs(folder.root)["key"].tolist() == ["t00003", "default"]


def test_tables_know_their_search(tmp_path: Path) -> None:
    folder = write_search(tmp_path)

    expected = {"name": "photos", "folder": str(folder.root), "rungs": [3, 6, 12]}
    for load in (load_study, load_rungs, load_full_runs):
        assert load(folder.root).attrs == expected


def test_a_search_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="no search 'nowhere'"):
        load_study("nowhere")


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_all'"):
        search.load_all  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue, reportUnusedExpression]
