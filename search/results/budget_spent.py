"""What the budget of a search went into, in hours of GPUs, or of CPU cores where it has no GPU.

Runs are taken to hold all of their workers all the time; elastic ones may have held fewer. A start
counts the wait for a place as well, and later sessions of a trial as much as its first one, as in
`search/books/spending.py`.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.books.records import Promoted, TrialRecord
from search.books.spending import HOUR_S
from search.folder import SearchFolder
from search.resources import WorkersConfig

START_UP = "start-up"
CHECKS = "early checks"
STAGES = "stages before full runs"
FULL_RUNS = "full runs"
REFERENCE = "reference attack"


@dataclass(frozen=True, kw_only=True)
class Expense:
    """Device-hours of one kind, for runs of one origin."""

    what: str
    """Training of trials by their status (`completed trials`), or one of the constants above."""
    origin: str
    """`recipes`, `earlier studies`, `default`, or the sampler's name."""
    device_hours: float


def expenses(
    records: Sequence[TrialRecord],
    promoted: Sequence[Promoted],
    *,
    reference_seconds: Mapping[str, float],
    workers: WorkersConfig,
) -> list[Expense]:
    """Returns what was spent, the dearest kind first, and within a kind the dearest origin.

    Args:
        reference_seconds: Of the reference attack, which one worker runs, by key of the full run.
    """
    spent: defaultdict[tuple[str, str], float] = defaultdict(float)
    of_what: defaultdict[str, float] = defaultdict(float)
    for what, origin, worker_seconds in _entries(records, promoted, reference_seconds, workers):
        hours = worker_seconds * workers.devices / workers.workers / HOUR_S
        spent[what, origin_kind(origin)] += hours
        of_what[what] += hours
    dearest = sorted(spent.items(), key=lambda item: (-of_what[item[0][0]], item[0][0], -item[1]))
    return [
        Expense(what=what, origin=origin, device_hours=hours)
        for (what, origin), hours in dearest
        if hours
    ]


def origin_kind(origin: str) -> str:
    """Returns where a run came from, recipes and earlier studies each taken together."""
    kinds = {"recipe": "recipes", "study": "earlier studies"}
    return kinds.get(origin.partition(":")[0], origin)


def device_name(workers: WorkersConfig) -> str:
    """Returns what `devices` of the workers are."""
    return "GPU" if workers.gpus_per_worker else "CPU"


def read_reference_seconds(folder: SearchFolder) -> dict[str, float]:
    """Returns the seconds of each reference attack that has ended, by key of the full run."""
    return {
        path.parent.name: float(json.loads(path.read_text())["seconds"])
        for path in folder.promoted.glob("*/timing.json")
    }


def _entries(
    records: Sequence[TrialRecord],
    promoted: Sequence[Promoted],
    reference_seconds: Mapping[str, float],
    workers: WorkersConfig,
) -> Iterator[tuple[str, str, float]]:
    """Yields what was done, for runs of which origin, and how many seconds of one worker."""
    all_workers = workers.workers
    for record in records:
        startup = (record.startup_s or 0.0) * record.sessions
        yield f"{record.status} trials", record.origin, all_workers * record.train_seconds
        yield CHECKS, record.origin, all_workers * record.check_seconds
        yield START_UP, record.origin, all_workers * startup
    for run, _ in promoted:
        history = run.progress.history if run.progress else ()
        checks = sum(epoch.check_seconds for epoch in history)
        kind = FULL_RUNS if run.stage is None else STAGES
        yield kind, run.origin, all_workers * run.train_seconds
        yield CHECKS, run.origin, all_workers * checks
        if run.stage is None:
            yield REFERENCE, run.origin, reference_seconds.get(run.key, 0.0)
