"""The Ray Train worker: one process of a trial's worker group. The only Ray in `trainers`.

What training needs comes in as JSON text and a callable, and what it reports goes out as JSON text,
so that neither the driver nor the controller of a trial has to import torch. Checkpoints are ours,
each a file that is whole or absent: Ray Train's index of its checkpoints is not written atomically,
and a kill in between makes the run unreadable.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import ray.train
import torch
import torch.distributed as dist
from ray.train.collective import broadcast_from_rank_zero

from models.config import Config
from trainers.config import CheckpointsConfig, TrialConfig
from trainers.data.load import load_train
from trainers.group import Group
from trainers.loop import Evaluate
from trainers.metrics import NODE, PROGRESS, Progress
from trainers.run import Place, run_trial


class WorkerPayload(Config):
    """What the driver sends to each worker, as JSON text."""

    trial: TrialConfig
    checkpoint: str
    """Folder of the checkpoints, on storage that every node sees; absolute."""
    checkpoints: CheckpointsConfig
    clean_starts: str
    """Folder that the trials of a search share for clean-trained weights; absolute."""
    manifests: str
    """Folder that they share for the lists of their images; absolute."""
    clean_recipe: TrialConfig
    """How clean trainings go: the base of the search."""
    rungs: tuple[int, ...]
    workers: int
    """That the run was planned for."""
    threads: int
    device: Literal["cpu", "cuda"]
    """Ray shows each worker its own GPU only, so `cuda` needs no index."""


def train_worker(
    payload: WorkerPayload,
    evaluate: Evaluate,
    *,
    must_stop: Callable[[], bool],
) -> None:
    """Trains one rank, from the last checkpoint if there is one, and reports every epoch.

    Raises:
        FloatingPointError: If the loss is not finite.
        StoppedError: If it had to stop before its last epoch.
        ValueError: If the checkpoint belongs to another config or other images, or is damaged.
    """
    torch.set_num_threads(payload.threads)
    context = ray.train.get_context()
    group = Group(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        planned=payload.workers,
        device=torch.device(payload.device),
    )
    if group.size > 1:
        _join_group(
            group.rank, group.size, backend="nccl" if group.device.type == "cuda" else "gloo"
        )
    node = ray.get_runtime_context().get_node_id()

    def report(progress: Progress) -> None:
        ray.train.report({PROGRESS: progress.model_dump_json(), NODE: node})

    run_trial(
        payload.trial,
        Place(
            checkpoints=Path(payload.checkpoint),
            clean_starts=Path(payload.clean_starts),
            manifests=Path(payload.manifests),
        ),
        load=load_train,
        group=group,
        checkpoints=payload.checkpoints,
        clean_recipe=payload.clean_recipe,
        rungs=payload.rungs,
        evaluate=evaluate,
        must_stop=must_stop,
        report=report,
    )
    if group.size > 1:
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
