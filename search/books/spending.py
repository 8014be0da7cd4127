"""What a search has spent of its budget, and which cap it has met."""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import Field

from models.config import Config
from search.books.records import TrialRecord
from search.resources import WorkersConfig
from search.strategy.config import BudgetConfig
from trainers.atomic import write_atomically

HOUR_S = 3600.0
DEFAULT_NODE = "default"
"""Among prices: a node of any other type."""


class Sitting(Config):
    """How long one process worked on the search, and what its cluster cost meanwhile."""

    began: float
    """Unix time."""
    seconds: float = Field(ge=0)
    spend: float = Field(ge=0)
    cluster: str
    """Its address; several processes may work on one."""


class Spent(Config):
    """What is gone."""

    trials: int
    """All but the failed ones that were tried again, and copies in a population."""
    hours: float
    """In which anybody worked on the search."""
    device_hours: float
    spend: float
    """What its clusters cost meanwhile; one where several processes work is paid once."""


class Clock:
    """Keeps the `Sitting` of this process on disk, so that a killed one has counted, too."""

    def __init__(self, path: Path, *, cluster: str, look_s: float = 5.0) -> None:
        """Begins now; `look_s` is the least time between two looks at the cluster."""
        self._path, self._look_s = path, look_s
        self._last = time.monotonic()
        self._sitting = Sitting(began=time.time(), seconds=0.0, spend=0.0, cluster=cluster)
        write_atomically(path, self._sitting.model_dump_json())

    def is_due(self) -> bool:
        """Whether it is time for `tick`."""
        return time.monotonic() - self._last >= self._look_s

    def tick(self, *, price_per_hour: float) -> None:
        """Counts the time since the last look, at the price of the nodes that are there now."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        update = {
            "seconds": self._sitting.seconds + passed,
            "spend": self._sitting.spend + passed / HOUR_S * price_per_hour,
        }
        self._sitting = self._sitting.model_copy(update=update)
        write_atomically(self._path, self._sitting.model_dump_json())


def read_sittings(folder: Path) -> list[Sitting]:
    """Returns those of all processes that ever worked on the search."""
    paths = sorted(folder.glob("*.json"))
    return [Sitting.model_validate_json(path.read_text()) for path in paths]


def spent_of(
    records: Sequence[TrialRecord], sittings: Iterable[Sitting], workers: WorkersConfig
) -> Spent:
    """Adds up what trials held and what processes took.

    Args:
        workers: Of trials whose records say nothing of theirs.
    """
    sittings = list(sittings)
    retried = {record.retry_of for record in records}
    busy = sum(
        busy_seconds(r) * (workers.devices if r.devices is None else r.devices) for r in records
    )
    return Spent(
        trials=sum(record.key not in retried and not record.replaces for record in records),
        hours=_at_once([(sitting, 1.0) for sitting in sittings]) / HOUR_S,
        device_hours=busy / HOUR_S,
        spend=sum(
            _at_once([(s, s.spend / s.seconds) for s in sittings if s.cluster == one and s.seconds])
            for one in {sitting.cluster for sitting in sittings}
        ),
    )


def _at_once(rates: Sequence[tuple[Sitting, float]]) -> float:
    """Integrates the highest rate (1/s) of those that sit at each moment."""
    ends = sorted({t for s, _ in rates for t in (s.began, s.began + s.seconds)})
    return sum(
        (until - since)
        * max((r for s, r in rates if s.began <= since and until <= s.began + s.seconds), default=0)
        for since, until in pairwise(ends)
    )


def busy_seconds(record: TrialRecord) -> float:
    """Returns how long a trial held its workers: start-up of each session, training and checks."""
    startup = (record.startup_s or 0.0) * record.sessions
    return startup + record.train_seconds + record.check_seconds


def cap_met(budget: BudgetConfig, spent: Spent) -> str:
    """Returns a sentence for the first cap, beside that on trials, that is met; or nothing."""
    caps = {
        "hours": (budget.hours, spent.hours),
        "device_hours": (budget.device_hours, spent.device_hours),
        "spend": (budget.spend, spent.spend),
    }
    for name, (cap, used) in caps.items():
        if cap is not None and used >= cap:
            return f"budget.{name} = {cap:g} is spent ({used:.3g})"
    return ""


def price_of(node_types: Iterable[str], prices: Mapping[str, float]) -> float:
    """Returns what an hour of the nodes costs.

    Raises:
        ValueError: If there is no price for a node.
    """
    total = 0.0
    for kind in node_types:
        price = prices.get(kind, prices.get(DEFAULT_NODE))
        if price is None:
            raise ValueError(
                f"budget.prices has no price for node type {kind!r}, only for {sorted(prices)}; "
                f"add it, or {DEFAULT_NODE!r} for any other"
            )
        total += price
    return total
