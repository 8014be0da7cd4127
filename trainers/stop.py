"""What training can be asked between two steps, and how it ends when it was asked to. Light."""

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
