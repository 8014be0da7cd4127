"""Looks at every node of a Ray cluster, for `rampart doctor`."""

# pyright: reportPrivateUsage=false
# Ray has no public way to say how much memory a container has, nor which instances a host runs.

import os
import resource
import shutil
import sys
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
from ray._common.utils import get_system_memory
from ray._private.services import find_gcs_addresses
from ray._private.utils import get_used_memory
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_nodes
from ray.util.state.exception import DataSourceUnavailable, RayStateApiException

from search.cluster.capacity import cluster_capacity, staying_nodes
from search.cluster.connect import connected
from search.doctor.folder_checks import mount_of
from search.doctor.health import ClusterFacts, FolderFacts, GpuFacts, NodeFacts, Question
from search.doctor.versions import installed
from search.errors import UserError
from search.live.trial_events import first_line
from search.resources import WorkersConfig

LOOK_S = 120
"""The first task on a node waits for our packages to come there."""
GPU_S = 60
API_S = 10
NOBODY = WorkersConfig(
    workers=1, min_workers=1, cpus_per_worker=1, gpus_per_worker=0.0, worker_restarts=0
)
"""Of whom none is to fit: what trials ask for is a check of its own."""
MARK = ".rampart-doctor"
"""Begins the names of the files that are written to see who sees them."""
LATE = "no answer in time"


def examine(question: Question, *, address: str | None) -> ClusterFacts:
    """Asks every node of the cluster at `address`, or of a local Ray that is started for it.

    Raises:
        UserError: If there is no Ray to ask.
    """
    try:
        with ExitStack() as stack:
            _connect(stack, address)
            return _ask_all(question)
    except RayError as error:
        raise UserError(
            f"Ray was lost while it was asked: {first_line(str(error))}\n"
            "look at `ray status` and at /tmp/ray/session_latest/logs, then ask again"
        ) from error


def _connect(stack: ExitStack, address: str | None) -> None:
    try:
        stack.enter_context(connected(address, NOBODY, concurrent=0))
    except UserError:
        raise
    except Exception as error:  # no class of Ray's own: a node that is slow to start is this one
        raise UserError(
            f"Ray does not start: {first_line(str(error))}\n"
            "ask again when the machine is less busy; else look at /tmp/ray/session_latest/logs: "
            "a full /tmp, or a RAY_TMPDIR of over 60 letters, are usual causes"
        ) from error


def _ask_all(question: Question) -> ClusterFacts:
    alive = staying_nodes()
    names = _names(alive)
    ids = {name: id_ for id_, name in names.items()}
    mark, own = f"{MARK}-{uuid.uuid4().hex}", ray.get_runtime_context().gcs_address
    asked = {name: (name, question, f"{mark}-{id_}", own) for name, id_ in ids.items()}
    nodes, silent = _on_each(ids, _look, asked, gpus={}, timeout_s=LOOK_S)
    wrote = {
        name: f"{mark}-{ids[name]}"
        for name, facts in nodes.items()
        if facts.folder and not facts.folder.problem
    }
    unseen = _unseen(ids, wrote, question.folder)
    promised = {names[node["NodeID"]]: int(node["Resources"].get("GPU", 0)) for node in alive}
    gpus, busy = _look_at_gpus(ids, promised)
    return ClusterFacts(
        capacity=cluster_capacity(),
        nodes=tuple(nodes.values()),
        silent=silent,
        unseen=unseen,
        gpus=gpus,
        busy=busy,
    )


def _names(alive: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns a name for each id of a node: its address, and more if a host has several."""
    addresses = [node["NodeManagerAddress"] for node in alive]
    return {
        node["NodeID"]: address if addresses.count(address) == 1 else f"{address}#{at}"
        for at, (node, address) in enumerate(zip(alive, addresses, strict=True))
    }


def _on_each(
    ids: Mapping[str, str],
    task: Any,
    arguments: Mapping[str, Sequence[Any]],
    *,
    gpus: Mapping[str, int],
    timeout_s: float,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Runs a task on each node that has arguments; returns what came back, and why not."""
    waiting = {
        name: task.options(
            num_gpus=gpus.get(name, 0),
            scheduling_strategy=NodeAffinitySchedulingStrategy(ids[name], soft=False),
        ).remote(*given)
        for name, given in arguments.items()
    }
    if waiting:
        ray.wait(list(waiting.values()), num_returns=len(waiting), timeout=timeout_s)
    answers: dict[str, Any] = {}
    silent: dict[str, str] = {}
    for name, reference in waiting.items():
        try:
            answers[name] = ray.get(reference, timeout=0)
        except GetTimeoutError:
            ray.cancel(reference, force=True)
            silent[name] = LATE
        except RayError as error:
            silent[name] = str(error).strip().splitlines()[-1]
    return answers, silent


def _unseen(
    ids: Mapping[str, str], wrote: Mapping[str, str], folder: str
) -> tuple[tuple[str, str], ...]:
    """Lets each node look for the files that all `wrote`, by its name, and removes them."""
    everywhere = {name: (folder, tuple(wrote.values())) for name in wrote}
    missing, _ = _on_each(ids, _missing, everywhere, gpus={}, timeout_s=LOOK_S)
    own = {name: (folder, mark) for name, mark in wrote.items()}
    _on_each(ids, _forget, own, gpus={}, timeout_s=LOOK_S)
    writers = {mark: name for name, mark in wrote.items()}
    return tuple((reader, writers[mark]) for reader, marks in missing.items() for mark in marks)


def _look_at_gpus(
    ids: Mapping[str, str], promised: Mapping[str, int]
) -> tuple[tuple[GpuFacts, ...], tuple[str, ...]]:
    """Returns what torch makes of all GPUs of each node, and the nodes where they are in use."""
    asked = {name: (name, count) for name, count in promised.items() if count}
    answers, silent = _on_each(ids, _compute, asked, gpus=promised, timeout_s=GPU_S)
    died = [
        GpuFacts(node=name, promised=promised[name], devices=(), cuda="unknown", problem=reason)
        for name, reason in silent.items()
        if reason != LATE
    ]
    busy = tuple(name for name, reason in silent.items() if reason == LATE)
    return (*died, *answers.values()), busy


@ray.remote(num_cpus=0, max_retries=0)
def _look(node: str, question: Question, mark: str, own: str) -> NodeFacts:
    total = get_system_memory()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return NodeFacts(
        node=node,
        versions=installed(question.packages),
        missing_paths=tuple(path for path in question.paths if not os.path.exists(path)),
        folder=_write(question.folder, mark) if question.folder else None,
        open_files=sys.maxsize if soft == resource.RLIM_INFINITY else soft,
        shared_memory_bytes=shutil.disk_usage("/dev/shm").total,
        memory_bytes=total,
        free_memory_bytes=total - get_used_memory(),
        api_problem=_api_problem(),
        other_rays=tuple(find_gcs_addresses() - {own}),
    )


def _write(folder: str, mark: str) -> FolderFacts:
    place, problem = _nearest(folder), ""
    try:
        (place / mark).touch()
    except OSError as error:
        problem = f"{place}: {error.strerror}"
    return FolderFacts(
        place=str(place),
        problem=problem,
        file_system=mount_of(str(place.resolve()), Path("/proc/mounts").read_text()),
        free_bytes=shutil.disk_usage(place).free,
    )


def _nearest(folder: str) -> Path:
    """Returns the folder, or the nearest of its parents that exists: none is made for a look."""
    place = Path(folder)
    return next(at for at in (place, *place.parents) if os.path.exists(at))


@ray.remote(num_cpus=0, max_retries=0)
def _missing(folder: str, marks: Sequence[str]) -> list[str]:
    # By their names: NFS may list a folder as it was a minute ago.
    return [mark for mark in marks if not (_nearest(folder) / mark).exists()]


@ray.remote(num_cpus=0, max_retries=0)
def _forget(folder: str, mark: str) -> None:
    (_nearest(folder) / mark).unlink(missing_ok=True)


def _api_problem() -> str:
    """Asks as Ray Train's cleaner does, which may reach the wrong Ray of a host."""
    own = ray.get_runtime_context().get_node_id()
    try:
        if list_nodes(filters=[("node_id", "=", own)], timeout=API_S):
            return ""
    except (RayStateApiException, DataSourceUnavailable, OSError, ValueError) as error:
        return first_line(str(error))
    return "it is that of another Ray, which does not know this node"


@ray.remote(num_cpus=0, max_retries=0)
def _compute(node: str, promised: int) -> GpuFacts:
    import torch

    devices: list[str] = []
    problem = ""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            torch.cuda.init()  # raises what device_count keeps to itself
            for index in range(torch.cuda.device_count()):
                torch.ones(2, device=f"cuda:{index}").sum().item()
                devices.append(torch.cuda.get_device_name(index))
        except (RuntimeError, AssertionError) as error:
            problem = first_line(str(error))
    if not devices and not problem and said:
        problem = first_line(str(said[0].message))
    return GpuFacts(
        node=node,
        promised=promised,
        devices=tuple(devices),
        cuda=torch.version.cuda or "",
        problem=problem,
    )
