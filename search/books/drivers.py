"""Who runs the trials of a search: any number of processes, which take turns at the books.

Each driver holds a lock on a file of its own under `drivers/`, which goes with it, however it dies;
records name the driver of a running trial. On a shared folder the file system must pass `flock` on
between machines, as NFS does from version 4.
"""

import os
import secrets
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from search.errors import UserError
from search.folder import SearchFolder
from search.lock import Held, hold, is_held

BOOKS_TIMEOUT_S = 120.0
"""A turn takes well under a second; a driver that takes this long has been stopped."""
_LOOK_S = 0.02


@contextmanager
def registered(folder: SearchFolder) -> Generator[str]:
    """Registers this process as a driver of the search and yields its id.

    Raises:
        UserError: If the folder cannot be written.
    """
    id_ = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    where = _drivers(folder)
    draft = where / f".{id_}"
    try:
        where.mkdir(exist_ok=True)
        held = hold(draft)
        # Under its own name only once it is held: nobody may take it for a dead driver's.
        draft.rename(where / id_)
    except OSError as error:
        raise UserError(f"{where} cannot be written: {error.strerror}") from error
    assert held is not None, "nobody else knows this name"
    with held:
        _forget_the_dead(folder)
        try:
            yield id_
        finally:
            (where / id_).unlink(missing_ok=True)


def is_alive(folder: SearchFolder, id_: str) -> bool:
    """Whether the driver is still at work; an empty id is nobody's."""
    return bool(id_) and is_held(_drivers(folder) / id_)


@contextmanager
def books(folder: SearchFolder) -> Generator[None]:
    """Waits for this process's turn at the records and the study, and keeps the others out.

    It does not nest: a second `books` inside waits for the first in vain.

    Raises:
        UserError: If another driver keeps it too long, or the folder cannot be written.
    """
    path = folder.root / "books"
    deadline = time.monotonic() + BOOKS_TIMEOUT_S
    with _turn(path, deadline) as held:
        held.write(f"process {os.getpid()} on {socket.gethostname()}")
        yield


def _turn(path: Path, deadline: float) -> Held:
    try:
        while (held := hold(path)) is None:
            if time.monotonic() > deadline:
                raise UserError(
                    f"{path.parent.name}: {path.read_text() or 'another process'} has kept the "
                    f"books for {BOOKS_TIMEOUT_S:g} s; end it, and then `rampart resume` goes on"
                )
            time.sleep(_LOOK_S)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return held


def _drivers(folder: SearchFolder) -> Path:
    return folder.root / "drivers"


def _files(folder: SearchFolder) -> list[Path]:
    return [path for path in _drivers(folder).glob("*") if not path.name.startswith(".")]


def _forget_the_dead(folder: SearchFolder) -> None:
    for path in _files(folder):
        if not is_held(path):
            path.unlink(missing_ok=True)
