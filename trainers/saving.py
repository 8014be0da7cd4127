"""Writes checkpoints while training goes on, and reads them for all ranks."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from trainers.checkpoint import (
    TrainState,
    load_checkpoint,
    mark_best,
    path_of,
    prune,
    save_checkpoint,
)
from trainers.config import TrialConfig
from trainers.group import Group
from trainers.metrics import best_epoch


class Saver:
    """Copies a state, and writes it in a thread of its own: one at a time, none left out."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """`keep` checkpoints stay, the latest end of an epoch and the best one beside them."""
        self._folder = folder
        self._keep = keep
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.wait()

    def save(self, state: TrainState) -> None:
        """Begins to write `state`, once the one before is written.

        Raises:
            OSError: If the one before could not be written.
        """
        self.wait()
        self._writing = self._thread.submit(self._write, copied(state))

    def wait(self) -> None:
        """Returns once the latest state is on disk.

        Raises:
            OSError: If it could not be written.
        """
        if self._writing is not None:
            self._writing.result()

    def _write(self, state: TrainState) -> None:
        save_checkpoint(self._folder, state)
        self.settle(state)

    def settle(self, state: TrainState) -> None:
        """Marks a state that is written as the best, if it is, and removes what need not stay.

        A resumed training begins with it, for the one before may have been killed in between.
        """
        is_end = not len(state.losses)
        if is_end and best_epoch(state.progress.history) == state.epoch:
            mark_best(path_of(self._folder, state))
        is_over = state.epoch == state.config.epochs
        prune(self._folder, keep=1 if is_over else self._keep)


def load_together(folder: Path, config: TrialConfig, group: Group) -> TrainState | None:
    """Returns on every rank what `load_checkpoint` finds on rank 0: others may write meanwhile."""
    return group.from_first(load_checkpoint(folder, config) if group.rank == 0 else None)


def copied(state: TrainState) -> TrainState:
    """Returns `state` with all tensors copied to the CPU, so that training may change its own."""
    return replace(
        state,
        losses=_copied(state.losses),
        hits=_copied(state.hits),
        model=_copied(state.model),
        ema=_copied(state.ema),
        optimizer=_copied(state.optimizer),
    )


def _copied(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, Mapping):
        return {key: _copied(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_copied(value) for value in tree)
    return tree
