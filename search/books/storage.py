"""Where the Optuna study lies: SQLite or a journal in the search's folder, or a shared database."""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from search.errors import UserError
from search.folder import SearchFolder

CONNECT_TIMEOUT_S = 10
CREATIONS = 5
"""Attempts to create the tables."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql"}
"""Backend -> the driver that our extra of the backend's name installs. SQLAlchemy 2.1's own choices
are others: https://docs.sqlalchemy.org/en/21/changelog/migration_21.html"""
_KINDS = (
    "sqlite, journal, postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE, where ${NAME} "
    "stands for a variable of the environment"
)


def check_storage(storage: str) -> None:
    """Raises ValueError if it is no storage, before anything is opened or read."""
    if storage not in ("sqlite", "journal") and not _VARIABLE.fullmatch(storage):
        _parsed(storage)


def open_storage(folder: SearchFolder, storage: str) -> BaseStorage:
    """Opens the storage of a search.

    Args:
        storage: `sqlite`, `journal`, or a URL, which may have `${NAME}` in place of the user, the
            password, the host or the database, or be nothing but a `${NAME}`.

    Raises:
        UserError: If it cannot be used; passwords are not in the message.
    """
    kind = _filled(storage, os.environ) if _VARIABLE.fullmatch(storage) else storage
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder.study}")
    if kind == "journal":
        return _open_journal(folder.study.with_suffix(".journal"))
    try:
        return _connect(database_url(kind, os.environ))
    except ValueError as error:
        raise UserError(str(error)) from error


def database_url(storage: str, variables: Mapping[str, str]) -> sqlalchemy.URL:
    """Returns the URL with its driver, and variables filled in, whatever characters they have.

    Raises:
        ValueError: If it is no URL of PostgreSQL or MySQL.
        UserError: If a variable is not set.
    """
    url = _parsed(storage)
    backend = url.get_backend_name()
    has_driver = "+" in url.drivername
    return url.set(
        drivername=url.drivername if has_driver else f"{backend}+{_DRIVERS[backend]}",
        username=url.username and _filled(url.username, variables),
        password=url.password and _filled(url.password, variables),
        host=url.host and _filled(url.host, variables),
        database=url.database and _filled(url.database, variables),
    )


def shown(url: sqlalchemy.URL) -> str:
    """Returns the URL as it may be read by others: without password and options."""
    return url.set(query={}).render_as_string(hide_password=True)


def _parsed(storage: str) -> sqlalchemy.URL:
    try:
        url = sqlalchemy.make_url(storage)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        came = "something with a password that is no URL" if "@" in storage else repr(storage)
        raise ValueError(f"storage must be {_KINDS}; got {came}") from error
    backend = url.get_backend_name()
    if backend not in _DRIVERS or not url.database:
        what = f"backend {backend!r}" if backend not in _DRIVERS else "no database"
        raise ValueError(f"storage must be {_KINDS}; got {what} in {shown(url)}")
    return url


def _filled(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in variables:
            raise UserError(
                f"storage reads the variable {name}, which is not set in the environment of this "
                f"process; export {name}=... and try again"
            )
        return variables[name]

    return _VARIABLE.sub(value, text)


def _open_journal(path: Path) -> JournalStorage:
    lock = JournalFileOpenLock(str(path))
    if not _ends_with_an_entry(path):  # or another process is writing one
        with get_lock_file(lock):
            _cut_last_line(path)
    return JournalStorage(JournalFileBackend(str(path), lock))


def _ends_with_an_entry(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _cut_last_line(path: Path) -> None:
    """Cuts what a killed process or a full disk left of an entry: Optuna would write on behind it,
    and nobody could read the journal again."""
    with path.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


def _connect(url: sqlalchemy.URL) -> RDBStorage:
    try:
        # Of two that find the database empty, one fails to create the tables that the other did.
        for _ in range(CREATIONS - 1):
            with contextlib.suppress(IntegrityError, ProgrammingError):
                return _open(url)
            time.sleep(1.0)
        return _open(url)
    except ImportError as error:
        backend = url.get_backend_name()
        raise UserError(
            f"storage {shown(url)} needs the driver {url.get_driver_name()}, which is not "
            f"installed; pip install 'rampart[{backend}]' and write {backend}://..."
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        # No cause: a traceback would print the URL.
        raise UserError(_unreachable(url, error)) from None


def _open(url: sqlalchemy.URL) -> RDBStorage:
    return RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={
            "pool_pre_ping": True,  # a search waits for hours between two questions
            "connect_args": {"connect_timeout": CONNECT_TIMEOUT_S},
        },
    )


def _unreachable(url: sqlalchemy.URL, error: Exception) -> str:
    reason = str(getattr(error, "orig", None) or error.__cause__ or error).strip().splitlines()[0]
    if url.password:
        reason = reason.replace(url.password, "***")
    return (
        f"storage {shown(url)} cannot be used: {reason}; check that the server runs, that user and "
        "password are right, and that the database exists (Rampart creates tables, no database)"
    )
