"""How long a search still takes, from what its trials took so far."""

from collections.abc import Mapping, Sequence

from search.books.records import TrialRecord


def estimate_seconds_left(
    records: Sequence[TrialRecord],
    total_trials: int | None,
    concurrent: int,
    *,
    ages: Mapping[str, float],
) -> float | None:
    """Returns the wall time until the last trial ends, or None before any epoch has finished.

    A trial to come costs the mean of the finished and paused ones, early ends included, so that
    early stopping is in the estimate; before one finished, a whole trial at the pace of the running
    ones. None, too, where the budget has no number of trials.

    Args:
        ages: Key of a running trial -> seconds since its last epoch ended, where that is known.
    """
    if total_trials is None:
        return None
    finished = [_spent(r) for r in records if r.status not in ("running", "failed")]
    whole = [
        _spent(r) + left
        for r in records
        if r.status == "running" and (left := trial_seconds_left(r, age_s=0.0)) is not None
    ]
    known = finished or whole
    waiting = max(0, total_trials - len(records))
    running = [record for record in records if record.status == "running"]
    if not known:
        return 0.0 if records and not waiting and not running else None
    cost = sum(known) / len(known)
    rests: list[float] = []
    for record in running:
        age_s = ages.get(record.key, 0.0)
        left = trial_seconds_left(record, age_s=age_s)
        rests.append(max(0.0, cost - age_s) if left is None else left)
    return max([(waiting * cost + sum(rests)) / concurrent, *rests])


def trial_seconds_left(record: TrialRecord, *, age_s: float) -> float | None:
    """Returns the seconds to where it is judged next at its pace so far, checks included.

    Args:
        age_s: Seconds since its latest epoch ended; only the epoch after that is believed done.
    """
    if not record.epochs:
        return None
    pace = (record.train_seconds + record.check_seconds) / record.epochs
    goal = record.config.epochs if record.goal is None else record.goal
    return max(0.0, pace * (goal - record.epochs) - min(age_s, pace))


def _spent(record: TrialRecord) -> float:
    return (record.startup_s or 0.0) + record.train_seconds + record.check_seconds
