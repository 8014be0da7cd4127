"""Ranks in processes of their own, from a server that has imported torch once."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from trainers.group import Group

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["trainers.run"])


def run_group(
    train: Callable[..., None], arguments: tuple[object, ...], *, store: Path, size: int
) -> int:
    """Calls `train(group, *arguments)` on each rank and returns rank 0's exit code.

    Args:
        store: A file that does not exist, by which the ranks find each other.
    """
    ranks: list[BaseProcess] = [
        PROCESSES.Process(target=_in_process, args=(train, rank, size, store, arguments))
        for rank in range(size)
    ]
    for rank in ranks:
        rank.start()
    ranks[0].join()
    for rank in ranks[1:]:
        if ranks[0].exitcode:
            rank.kill()
        rank.join()
    code = ranks[0].exitcode
    assert code is not None
    return code


def _in_process(
    train: Callable[..., None], rank: int, size: int, store: Path, arguments: tuple[object, ...]
) -> None:
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    train(Group(rank=rank, size=size, planned=2, device=torch.device("cpu")), *arguments)
    if size > 1:
        dist.destroy_process_group()
