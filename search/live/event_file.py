"""The file that TensorBoard reads, by the part of tensorboardX that does without threads and torch.

Its SummaryWriter leaves the last numbers in a queue for up to two minutes, and begins a file of the
same second anew.
"""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

Event = tuple[int, float, Mapping[str, float]]
"""A step, the Unix time of its end, and its numbers by their tags."""


@contextmanager
def event_file(
    folder: Path, hyperparameters: Mapping[str, Any]
) -> Generator[Callable[[Iterable[Event]], None]]:
    """Begins a file that takes the place of those in `folder`; gives what appends events to it.

    The older ones stay: a TensorBoard that is reading one finds the next only beside it.

    Args:
        folder: Where no other run writes; made if need be.
        hyperparameters: Numbers, booleans and texts, for the tab HPARAMS.
    """
    records = _import_without_torch("tensorboardX.record_writer")
    proto = import_module("tensorboardX.proto.event_pb2")
    _, session_start, _ = import_module("tensorboardX.summary").hparams(hyperparameters, {})
    folder.mkdir(parents=True, exist_ok=True)
    file = records.RecordWriter(str(folder / f"events.out.tfevents.{time.time_ns()}"))

    def write(at: float, **fields: Any) -> None:
        file.write(proto.Event(wall_time=at, **fields).SerializeToString())

    def append(events: Iterable[Event]) -> None:
        for step, at, numbers in events:
            values = [{"tag": tag, "simple_value": number} for tag, number in numbers.items()]
            write(at, step=step, summary={"value": values})
        file.flush()

    write(time.time(), file_version="brain.Event:2")
    # TensorBoard forgets what it read in the older files. It goes through them by name.
    write(time.time(), step=0, session_log={"status": proto.SessionLog.START})
    write(time.time(), summary=session_start)
    try:
        yield append
    finally:
        file.close()


def _import_without_torch(name: str) -> ModuleType:
    """Imports tensorboardX, which loads torch if it can: 3 s and 0.5 GB, for tensors only."""
    if "torch" in sys.modules:
        return import_module(name)
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType] # Python's way to say: not here
    try:
        return import_module(name)
    finally:
        del sys.modules["torch"]
