"""Where a study lies: files in the folder, and a real PostgreSQL."""

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from postgres_server import PASSWORD, free_port, postgres_server
from repository import DEMO

from search.books.storage import check_storage, database_url, open_storage, shown
from search.books.study import create_study, open_study
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.load import load_experiment
from search.space.space import suggest


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with postgres_server() as port:
        yield port


def experiment(storage: str, **overrides: Any) -> ExperimentConfig:
    return load_experiment(DEMO, {"storage": storage, **overrides})


def folder_at(path: Path) -> SearchFolder:
    path.mkdir(exist_ok=True)
    return SearchFolder(root=path)


def ask_and_tell(folder: SearchFolder, config: ExperimentConfig) -> dict[str, Any]:
    """Runs one trial in a new opening of the study."""
    study = open_study(folder, config)
    trial = study.ask()
    suggest(trial, config.space)
    study.tell(trial, 0.5)
    return study.trials[trial.number].params


@pytest.mark.parametrize(
    ("storage", "file"), [("sqlite", "study.db"), ("journal", "study.journal")]
)
def test_a_study_in_the_folder_moves_with_it(storage: str, file: str, tmp_path: Path) -> None:
    config = experiment(storage, warm_start=["light"])
    create_study(folder_at(tmp_path / "here"), config)
    first = ask_and_tell(folder_at(tmp_path / "here"), config)
    (tmp_path / "here").rename(tmp_path / "there")

    ask_and_tell(folder_at(tmp_path / "there"), config)

    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [file]
    trials = open_study(folder_at(tmp_path / "there"), config).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert trials[0].params == first
    assert first["optim.weight_decay"] == 0.5


def test_a_journal_is_read_although_its_last_line_was_cut(tmp_path: Path) -> None:
    folder, config = folder_at(tmp_path), experiment("journal", warm_start=[])
    create_study(folder, config)
    ask_and_tell(folder, config)
    with (tmp_path / "study.journal").open("a") as file:
        file.write('{"op_code":5,"worker_id":"')

    ask_and_tell(folder, config)

    states = [trial.state for trial in open_study(folder, config).trials]
    assert states == [TrialState.COMPLETE] * 2


def test_objectives_have_their_directions_and_names(tmp_path: Path) -> None:
    config = experiment("sqlite", objectives=["robust", "gmacs", "clean", "seconds"])
    create_study(folder_at(tmp_path), config)

    study = open_study(folder_at(tmp_path), config)

    directions = [direction.name for direction in study.directions]
    assert directions == ["MAXIMIZE", "MINIMIZE", "MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["robust", "gmacs", "clean", "seconds"]


def test_a_study_that_was_deleted_is_missed(tmp_path: Path) -> None:
    create_study(folder_at(tmp_path), experiment("sqlite"))

    with pytest.raises(UserError, match=r"has no study 'other'.*name=ANOTHER begins anew"):
        open_study(folder_at(tmp_path), experiment("sqlite", name="other"))


def test_a_database_keeps_studies_of_searches_in_any_folder(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    config = experiment(f"postgresql://rampart:${{DB_PASSWORD}}@127.0.0.1:{server}/rampart")
    create_study(folder_at(tmp_path / "a"), config)
    ask_and_tell(folder_at(tmp_path / "a"), config)

    with pytest.raises(UserError, match=r"a study 'demo' already.*; name=ANOTHER begins anew"):
        create_study(folder_at(tmp_path / "b"), config)
    other = config.model_copy(update={"name": "other"})
    create_study(folder_at(tmp_path / "b"), other)

    assert len(open_study(folder_at(tmp_path / "a"), config).trials) == 3
    assert open_study(folder_at(tmp_path / "a"), config).best_value == 0.5
    states = [t.state for t in open_study(folder_at(tmp_path / "b"), other).trials]
    assert states == [TrialState.WAITING] * 3
    assert [path.name for path in tmp_path.glob("*/*")] == []


def test_the_whole_url_may_be_a_variable(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database_url(
        f"postgresql://rampart:${{P}}@127.0.0.1:{server}/rampart", {"P": PASSWORD}
    ).render_as_string(hide_password=False)
    monkeypatch.setenv("RAMPART_STORAGE", url)
    config = experiment("${RAMPART_STORAGE}", name="by_variable", warm_start=[])

    create_study(folder_at(tmp_path), config)

    assert ask_and_tell(folder_at(tmp_path), config)


def test_several_may_be_the_first_to_open_a_database_at_once(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    url = f"postgresql://rampart:${{DB_PASSWORD}}@127.0.0.1:{server}/"
    engine = sqlalchemy.create_engine(
        database_url(f"{url}rampart", os.environ), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE fresh"))
    engine.dispose()
    barrier = threading.Barrier(3)

    def open_it(_: int) -> int:
        barrier.wait()
        return len(open_storage(folder_at(tmp_path), f"{url}fresh").get_all_studies())

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(open_it, range(3))) == [0, 0, 0]


UNREACHABLE = [
    ("rampart:secret@127.0.0.1:{server}/rampart", "password authentication failed for user"),
    ("rampart:${{DB_PASSWORD}}@127.0.0.1:{server}/none", 'database "none" does not exist'),
    ("rampart:secret@127.0.0.1:{nobody}/rampart", "Connection refused"),
]


@pytest.mark.parametrize(("url", "reason"), UNREACHABLE)
def test_a_database_that_cannot_be_used_is_the_users_to_mend_and_no_password_shows(
    url: str, reason: str, server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    filled = url.format(server=server, nobody=free_port())

    with pytest.raises(UserError, match=reason) as caught:
        create_study(folder_at(tmp_path), experiment(f"postgresql://{filled}"))

    message = str(caught.value)
    assert "secret" not in message
    assert PASSWORD not in message
    assert "rampart:***@127.0.0.1" in message
    assert "check that the server runs" in message


def test_a_missing_driver_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)  # as if it were not installed

    with pytest.raises(UserError, match=r"mysql\+pymysql://u:\*\*\*@h/d.*pip install 'rampart\[my"):
        create_study(folder_at(tmp_path), experiment("mysql://u:secret@h/d"))


def test_variables_are_filled_in_whatever_characters_they_have() -> None:
    variables = {"USER": "me", "PW": PASSWORD, "HOST": "db.example", "DB": "search"}

    url = database_url("mysql://${USER}:${PW}@${HOST}:3307/${DB}?charset=utf8mb4", variables)

    assert (url.username, url.password, url.host, url.port) == ("me", PASSWORD, "db.example", 3307)
    assert (url.drivername, url.database, url.query["charset"]) == (
        "mysql+pymysql",
        "search",
        "utf8mb4",
    )
    assert shown(url) == "mysql+pymysql://me:***@db.example:3307/search"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(UserError, match="reads the variable DB_PASSWORD, which is not set"):
        database_url("postgresql://me:${DB_PASSWORD}@h/d", {})


@pytest.mark.parametrize("storage", ["sqlite", "journal", "${ANY}", "postgresql://u:${P}@h/d"])
def test_what_may_be_a_storage_is_not_opened_to_find_out(storage: str) -> None:
    check_storage(storage)


NO_STORAGE = [
    ("redis", "got 'redis'"),
    ("oracle://u:secret@h/d", r"got backend 'oracle' in oracle://u:\*\*\*@h/d"),
    ("postgresql://u:secret@h", r"got no database in postgresql://u:\*\*\*@h"),
    ("postgresql://u:secret@h:port/d", "got something with a password that is no URL"),
]


@pytest.mark.parametrize(("storage", "message"), NO_STORAGE)
def test_what_is_no_storage_is_refused_without_showing_passwords(
    storage: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_storage(storage)

    assert "storage must be sqlite, journal, postgresql://" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_journal_is_optunas_own(tmp_path: Path) -> None:
    folder, config = folder_at(tmp_path), experiment("journal", warm_start=[])
    create_study(folder, config)
    params = ask_and_tell(folder, config)

    backend = JournalFileBackend(str(tmp_path / "study.journal"))
    study = optuna.load_study(study_name="demo", storage=JournalStorage(backend))

    assert study.best_params == params
