"""An exponential moving average of a model's weights, on the device of the model."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """Keeps `averaged`, a copy of a model in eval mode whose weights trail the model's.

    The decay of update t (from 0) is min(decay, (1 + t) / (10 + t)), so that the random start is
    soon forgotten. Buffers are copied, not averaged.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        """Follows `model` from its present weights, on its present device."""
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay:g}; 0 follows the model exactly")
        self.decay = decay
        self.updates = 0
        self.averaged = copy.deepcopy(model).eval().requires_grad_(False)
        # Listed once: walking the modules at every step took longer than the average itself.
        self._averages: list[Tensor] = list(self.averaged.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        self._copies = list(zip(self.averaged.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Moves `averaged` towards the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # One fused call for all tensors; torch has no public name for it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            self._averages, self._weights, 1 - decay
        )
        for mine, current in self._copies:
            mine.copy_(current)
        self.updates += 1

    def get_extra_state(self) -> dict[str, Any]:
        """Returns what `state_dict` holds besides tensors."""
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes back what `get_extra_state` returned."""
        self.updates = state["updates"]
