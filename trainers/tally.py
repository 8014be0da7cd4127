"""Losses and hits of the epoch that runs, step by step, until they become its metrics."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from trainers.group import Group


@dataclass(kw_only=True)
class Tally:
    """What was counted since the last look stays on the device, as this rank's part."""

    losses: Float[Tensor, " steps"]
    """Mean loss of each step over all ranks, up to the last look; on the CPU."""
    hits: Float[Tensor, " steps"]
    """Images of each step, over all ranks, that the model got right."""
    seconds: float
    """Spent on these steps by sessions that ended before the epoch did."""
    new: list[tuple[Tensor, Tensor]] = field(default_factory=list[tuple[Tensor, Tensor]])
    """Loss and hits of each step since, of this rank; the loss is its part of the mean."""

    def add(self, loss: Float[Tensor, ""], hits: Float[Tensor, ""]) -> None:
        """Counts one step."""
        self.new.append((loss, hits))

    def first_bad_step(self) -> tuple[int, float] | None:
        """Returns the first new step, from 0, whose loss on this rank is not finite, and it."""
        losses = torch.stack([loss for loss, _ in self.new]).tolist() if self.new else []
        bad = [(step, loss) for step, loss in enumerate(losses) if not math.isfinite(loss)]
        return (len(self.losses) + bad[0][0], bad[0][1]) if bad else None

    def gather(self, group: Group) -> None:
        """Adds the new steps of all ranks; every rank calls it at the same step."""
        if not self.new:
            return
        parts = torch.stack([torch.stack(step).to(torch.float32) for step in self.new])
        losses, hits = group.total(parts).cpu().unbind(1)  # (steps,)
        self.losses = torch.cat([self.losses, losses])
        self.hits = torch.cat([self.hits, hits])
        self.new.clear()


def empty_tally() -> Tally:
    """Returns the tally of an epoch that has not begun."""
    return Tally(losses=torch.zeros(0), hits=torch.zeros(0), seconds=0.0)
