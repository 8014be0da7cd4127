"""Runs in every Python process that has this folder on its PYTHONPATH: notes which files it opens.

Each opening of a file below $RECORD_BELOW adds "TIME PROCESS PATH" to the file $RECORD_TO. Python's
own openings raise the event, also those of NumPy, mmap and Pillow; those inside Arrow do not.
"""

import os
import sys
import time

BELOW = os.environ["RECORD_BELOW"] + os.sep
TO = os.environ["RECORD_TO"]


def note(event: str, arguments: tuple[object, ...]) -> None:
    """The audit hook."""
    if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
        return
    path = os.path.abspath(os.fsdecode(arguments[0]))
    if path.startswith(BELOW):
        with open(TO, "a") as log:  # is not below, so this opening ends here
            log.write(f"{time.time()} {os.getpid()} {path}\n")


sys.addaudithook(note)
