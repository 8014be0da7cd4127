"""One process at a time leads a search or trains a run; the lock goes with it, however it dies."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from search.errors import UserError

_LOOK_S = 0.02
_LOOKS = 10


class Held:
    """A file that this process has locked, until the `with` ends."""

    def __init__(self, descriptor: int) -> None:
        """Takes over a descriptor that is locked."""
        self._descriptor = descriptor

    def __enter__(self) -> "Held":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def write(self, text: str) -> None:
        """Replaces what is in the file, for those who wait."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


def hold(path: Path) -> Held | None:
    """Locks the file at `path`, which it creates; returns None if another process holds it.

    Raises:
        OSError: If it cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Held(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the file at `path`; writes nothing."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def locked(root: Path, *, again: str) -> Generator[None]:
    """Holds the lock of the search or run at `root`.

    Args:
        again: The command that goes on with it.

    Raises:
        UserError: If another process holds it, or the folder cannot be written.
    """
    path = root / "lock"
    try:
        held = _hold_patiently(path)
    except OSError as error:
        raise UserError(f"{root} cannot be written: {error.strerror}") from error
    if held is None:
        raise UserError(
            f"{root.name} is being run by process {path.read_text().strip()}; wait for it, or end "
            f"it and then `{again}`"
        )
    with held:
        held.write(str(os.getpid()))
        yield


def _hold_patiently(path: Path) -> Held | None:
    """Tries more than once: one who only asks `is_held` holds it for an instant."""
    for _ in range(_LOOKS):
        if (held := hold(path)) is not None:
            return held
        time.sleep(_LOOK_S)
    return None


def is_locked(root: Path) -> bool:
    """Whether a process is working on what is at `root`."""
    return is_held(root / "lock")
