"""What the engine asks of an attack: to run many work items side by side, each at its own step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from evaluation.engine.stages import Stage
from trainers.threat import ThreatModel

Logits = Callable[[Tensor], Tensor]
"""Images (lanes, c, h, w) on [0, 1] -> logits (lanes, classes) in float32; differentiable."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image under one stage."""

    image: int
    """Place in the evaluated list."""
    stage: Stage
    seed: int
    """Of all random numbers of this item, which depend on nothing else."""
    target: int
    """Class that is aimed at; -1 without one."""


class Lanes(ABC):
    """A batch of fixed size whose rows are independent of each other.

    A row, or lane, holds one item from its first iteration to its last, whatever the others do: the
    outcome of an item must not depend on its lane, on its neighbours or on when it began. Choices
    per lane are torch.where, so that nothing waits for the device. Lanes that hold no item carry
    whatever was there before, and nobody looks at them.
    """

    x: Float[Tensor, "lanes c h w"]
    """Clean images."""
    y: Int64[Tensor, " lanes"]
    """Their labels."""
    found: Float[Tensor, "lanes c h w"]
    """The first iterate since `begin` or `resume_search` that is inside the threat model and
    misclassified."""
    is_fooled: Bool[Tensor, " lanes"]
    """Whether there is one."""
    found_at: Int64[Tensor, " lanes"]
    """Iteration of `found`: 0 is the start; for Square, the number of queries before it."""
    is_finished: Bool[Tensor, " lanes"]
    """Whether the item has had all its iterations; `advance` then changes nothing that is read."""

    def __init__(
        self,
        logits: Logits,
        threat: ThreatModel,
        *,
        lanes: int,
        shape: torch.Size,
        device: torch.device,
    ) -> None:
        """`shape` is that of an image, (c, h, w)."""
        self.logits = logits
        self.threat = threat
        self.x = torch.zeros(lanes, *shape, device=device)
        self.y = torch.zeros(lanes, dtype=torch.int64, device=device)
        self.found = torch.zeros_like(self.x)
        self.is_fooled = torch.zeros(lanes, dtype=torch.bool, device=device)
        self.found_at = torch.zeros_like(self.y)
        self.is_finished = torch.zeros_like(self.is_fooled)

    def begin(
        self,
        rows: Int64[Tensor, " some"],
        x: Float[Tensor, "some c h w"],
        y: Int64[Tensor, " some"],
        items: Sequence[Item],
    ) -> None:
        """Puts new items into `rows`; the model is not asked before the next `advance`.

        Args:
            rows: On the device, no row twice.
        """
        self.x[rows], self.y[rows] = x, y
        self.is_fooled[rows] = False
        self.is_finished[rows] = False
        self._begin(rows, items)

    def resume_search(self, rows: Int64[Tensor, " some"]) -> None:
        """Takes `found` back: it was not misclassified when looked at again. The item goes on."""
        self.is_fooled[rows] = False

    @abstractmethod
    def advance(self) -> None:
        """Runs one iteration in every lane."""

    @abstractmethod
    def _begin(self, rows: Tensor, items: Sequence[Item]) -> None:
        """Sets what the attack itself keeps; `x` and `y` of `rows` are in place."""

    def _claim(self, x_adv: Tensor, is_success: Tensor, at: Tensor) -> None:
        """Notes the iterates `x_adv` where `is_success` holds and nothing was found before."""
        is_new = is_success & ~self.is_fooled
        self.found = torch.where(is_new.view(-1, 1, 1, 1), x_adv, self.found)
        self.found_at = torch.where(is_new, at, self.found_at)
        self.is_fooled = self.is_fooled | is_success
