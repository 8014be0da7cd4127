"""The processes that train one model together, and what they agree on."""

from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One process among `size`; above 1 the default process group of torch must exist."""

    rank: int
    size: int
    planned: int
    """Processes that the run was planned for; with fewer, each works its share off in more parts,
    so that the memory of one stays what it was."""
    device: torch.device

    def highest(self, value: int) -> int:
        """Returns the highest `value` of all ranks; waits for them and for the device."""
        if self.size == 1:
            return value
        highest = torch.tensor(value, device=self.device)
        dist.all_reduce(highest, op=dist.ReduceOp.MAX)
        return int(highest.item())

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum of `values` over all ranks."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_first(self, value: T) -> T:
        """Returns rank 0's `value` on every rank."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


def alone(device: torch.device) -> Group:
    """Returns the group of a process that trains by itself."""
    return Group(rank=0, size=1, planned=1, device=device)
