"""One process at a time works on a search; the lock goes with the process, however it dies."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from search.errors import UserError


@contextmanager
def locked(root: Path) -> Generator[None]:
    """Holds the lock of the search at `root`.

    Raises:
        UserError: If another process holds it.
    """
    with open(root / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"{root.name} is being run by process {file.read().strip()}; "
                "wait for it, or end it and then `rampart resume`"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(root: Path) -> bool:
    """Whether a process is working on the search at `root`."""
    with open(root / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False
