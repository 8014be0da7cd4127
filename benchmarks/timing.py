"""Fair timing on a noisy machine: the candidates take turns, and ratios are taken turn by turn."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def time_in_turns(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Returns for each candidate its seconds per call in each round, after one warm-up call."""
    for call in candidates.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            _wait(device)
            started = time.perf_counter()
            for _ in range(steps):
                call()
            _wait(device)
            seconds[name].append((time.perf_counter() - started) / steps)
    return seconds


def ratio(these: list[float], those: list[float]) -> float:
    """Returns the median over the rounds of this / that."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
