"""One process at a time works on a search or a run; the lock goes with it, however it dies."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from search.errors import UserError


@contextmanager
def locked(root: Path, *, again: str) -> Generator[None]:
    """Holds the lock of the search or run at `root`.

    Args:
        again: The command that goes on with it.

    Raises:
        UserError: If another process holds it, or the folder cannot be written.
    """
    try:
        file = (root / "lock").open("a+")
    except OSError as error:
        raise UserError(f"{root} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"{root.name} is being run by process {file.read().strip()}; "
                f"wait for it, or end it and then `{again}`"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(root: Path) -> bool:
    """Whether a process is working on what is at `root`."""
    path = root / "lock"
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
