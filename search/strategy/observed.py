"""What decisions see of a trial: nothing but this, so that a resumed search decides the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ObservedStatus = Literal["running", "paused", "completed", "stopped", "failed"]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One trial. A level is the index of a rung; the last epoch is the level above all rungs."""

    number: int
    status: ObservedStatus
    """stopped: it never goes on, also where a diagnosis ended it."""
    params: Mapping[str, Any]
    """The sample, by the names of its axes."""
    values: Mapping[int, tuple[float, ...]]
    """Level -> what it showed there, a number for each objective, higher is better."""
    goal: int
    """The level that it trains to, or was trained to last."""
    first: int = 0
    """The lowest level where it is judged; more than 0 in the later brackets of Hyperband."""
    bracket: str = ""
    """It is compared with the trials of its own bracket alone."""

    @property
    def highest(self) -> int:
        """The highest level where it showed something; -1 for none."""
        return max(self.values, default=-1)
