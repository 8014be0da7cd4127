"""Spreads work on a source over processes, one range of images at a time."""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from trainers.data.source import Source

Result = TypeVar("Result")
OnProgress = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""

_job: Callable[[range], Any] | None = None
"""In a worker process: the task, with the source that it works on."""


def cut_ranges(images: int, length: int) -> list[range]:
    """Cuts `images` places into ranges of `length`; the last may be shorter."""
    return [range(i, min(i + length, images)) for i in range(0, images, length)]


def spread(
    task: Callable[[Source, range], Result],
    source: Source,
    ranges: Sequence[range],
    *,
    workers: int,
) -> Iterator[tuple[range, Result]]:
    """Yields `task(source, part)` for each range, in the order in which they are finished.

    Args:
        task: Can be pickled.
        workers: Processes; 1 works in this one.

    Raises:
        ValueError: If there is no worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; 1 works without processes")
    if workers == 1 or len(ranges) < 2:
        yield from ((part, task(source, part)) for part in ranges)
        return
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(ranges)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(functools.partial(task, source),),
    )
    try:
        futures = {pool.submit(_work, part): part for part in ranges}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(job: Callable[[range], Any]) -> None:
    global _job
    _job = job
    # Ctrl-C goes to every process: the parent ends in order, a worker at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A worker of a killed process would wait for work for ever: it holds both ends of the pipe.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(part: range) -> Any:
    assert _job is not None
    return _job(part)
