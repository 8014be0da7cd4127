"""How training is asked to save or to end between two steps, and how a process learns of it. Light.

One process trains one rank: that it is about to end is a fact of the process, not of an object.
"""

import signal
import threading
from enum import IntEnum


class Request(IntEnum):
    """What one rank asks of all; the highest of all ranks counts."""

    NOTHING = 0
    SAVE = 1
    """Yield the state, and go on."""
    STOP = 2
    """Yield the state, and end."""


class StoppedError(Exception):
    """Training ended before its last epoch because it was asked to, after saving its state."""


must_stop = threading.Event()
"""Set once this process is about to end."""
has_ended = threading.Event()
"""Set once training in this process is over, and saved."""


def listen() -> None:
    """Takes SIGTERM for news of the end; to be called in the main thread."""
    signal.signal(signal.SIGTERM, lambda number, frame: must_stop.set())
