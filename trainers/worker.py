"""The Ray Train worker: one process of a trial's worker group. The only Ray in `trainers`.

What training needs comes in as JSON text and a callable, and what it reports goes out as JSON text,
so that neither the driver nor the controller of a trial has to import torch. Checkpoints are ours,
one file replaced atomically: Ray Train's index of its checkpoints is not written atomically, and a
kill in between makes the run unreadable.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import ray.train
import torch
import torch.distributed as dist
from ray.train.collective import broadcast_from_rank_zero
from torch import nn

from models.config import Config
from trainers.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from trainers.clean_start import clean_start
from trainers.config import TrialConfig
from trainers.data.load import load_train
from trainers.loop import fit
from trainers.metrics import NODE, PROGRESS, Check


class WorkerPayload(Config):
    """What the driver sends to each worker, as JSON text."""

    trial: TrialConfig
    checkpoint: str
    """Folder of the checkpoint, on storage that every node sees; absolute."""
    clean_starts: str
    """Folder that the trials of a search share for clean-trained weights; absolute."""
    clean_recipe: TrialConfig
    """How clean trainings go: the base of the search."""
    rungs: tuple[int, ...]
    threads: int
    device: Literal["cpu", "cuda"]
    """Ray shows each worker its own GPU only, so `cuda` needs no index."""


def train_worker(payload: WorkerPayload, evaluate: Callable[[nn.Module], Check]) -> None:
    """Trains one rank, from the last checkpoint if there is one, and reports every epoch.

    Raises:
        FloatingPointError: If the loss is not finite.
        ValueError: If the checkpoint belongs to another config or is damaged.
    """
    torch.set_num_threads(payload.threads)
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    if world_size > 1:
        _join_group(rank, world_size, backend="nccl" if payload.device == "cuda" else "gloo")
    node = ray.get_runtime_context().get_node_id()
    folder = Path(payload.checkpoint)
    resume = load_checkpoint(folder, payload.trial) if has_checkpoint(folder) else None
    if resume is not None:
        # A kill may have come between the checkpoint and the news of it: tell it again.
        ray.train.report({PROGRESS: resume.progress.model_dump_json(), NODE: node})
    images, device = load_train(payload.trial), torch.device(payload.device)
    start = None
    if resume is None and payload.trial.weights.clean_epochs:
        start = clean_start(
            payload.trial,
            Path(payload.clean_starts),
            recipe=payload.clean_recipe,
            images=images,
            rank=rank,
            world_size=world_size,
            device=device,
        )
    for state in fit(
        payload.trial,
        images=images,
        rungs=payload.rungs,
        evaluate=evaluate,
        rank=rank,
        world_size=world_size,
        device=device,
        resume=resume,
        start=start,
    ):
        if rank == 0:
            save_checkpoint(folder, state)
        ray.train.report({PROGRESS: state.progress.model_dump_json(), NODE: node})
    if world_size > 1:
        dist.destroy_process_group()


def _join_group(rank: int, world_size: int, *, backend: str) -> None:
    """Forms the process group at an address that rank 0 picks."""
    address = broadcast_from_rank_zero(_free_address() if rank == 0 else None)
    dist.init_process_group(
        backend, init_method=f"tcp://{address}", rank=rank, world_size=world_size
    )


def _free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{listener.getsockname()[1]}"
