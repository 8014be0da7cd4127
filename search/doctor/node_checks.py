"""What `rampart doctor` concludes from what the nodes answered: pure functions."""

from collections.abc import Mapping, Sequence

from packaging.requirements import Requirement
from packaging.version import Version

from search.doctor.folder_checks import check_folders
from search.doctor.health import (
    Check,
    ClusterFacts,
    GpuFacts,
    NodeFacts,
    Verdict,
    check_limit,
    gigabytes,
    name_some,
)
from search.doctor.versions import INSTALL, unmet
from search.resources import ResourcesConfig
from search.room import Capacity, fitting, shortage

LEAST_OPEN_FILES = 4096
"""Below it Ray itself warns of errors in connections."""
OBJECT_STORE = 0.3
"""Ray's share of the memory for its object store, which should fit in /dev/shm."""
LEAST_FREE_MEMORY = 0.1
"""Ray kills processes of a node that has less than 0.05 of its memory left."""


def node_checks(
    facts: ClusterFacts,
    *,
    here: Mapping[str, str],
    wanted: Sequence[Requirement],
    storage: str,
    resources: ResourcesConfig | None,
) -> list[Check]:
    """Returns all checks of a cluster.

    Args:
        here: Versions on the machine of the driver.
        wanted: What every node must have.
        storage: The `storage` of the experiment.
        resources: What the trials ask for; None without an experiment.
    """
    checks = [check_answers(facts)]
    if facts.nodes:
        checks += [
            check_same_versions(facts.nodes, here=here, wanted=wanted),
            check_api(facts.nodes),
            check_paths(facts.nodes),
            *check_limits(facts.nodes),
        ]
    if any(node.folder for node in facts.nodes):
        checks += check_folders(facts.nodes, unseen=facts.unseen, storage=storage)
    if resources:
        checks.append(check_capacity(facts.capacity, resources))
    if facts.gpus or facts.busy:
        checks.append(check_gpus(facts.gpus, busy=facts.busy))
    return checks


def check_answers(facts: ClusterFacts) -> Check:
    """Checks that every node runs a process for us."""
    name, count = "nodes", len(facts.nodes) + len(facts.silent)
    if not facts.silent:
        names = name_some([node.node for node in facts.nodes])
        return Check(name=name, verdict="ok", found=f"{count}: {names}")
    node, reason = next(iter(facts.silent.items()))
    return Check(
        name=name,
        verdict="failed",
        found=f"no answer from {name_some(list(facts.silent))} of {count}; {node}: {reason}",
        cure=f"if a module is missing there, {INSTALL}; else look at `ray status` and restart Ray "
        "on that node",
    )


def check_same_versions(
    nodes: Sequence[NodeFacts], *, here: Mapping[str, str], wanted: Sequence[Requirement]
) -> Check:
    """Checks that what computes is the same everywhere; builds of one version may differ."""
    name = "same versions"
    broken = [f"{n.node}: {one}" for n in nodes for one in unmet(wanted, n.versions)]
    if broken:
        cure = f"on each of these nodes, {INSTALL}"
        return Check(name=name, verdict="failed", found=name_some(broken), cure=cure)
    differing = [
        f"{package} {node.versions[package]} on {node.node}, {version} here"
        for node in nodes
        for package, version in here.items()
        if package in node.versions and not _is_same(version, node.versions[package])
    ]
    if not differing:
        return Check(name=name, verdict="ok", found=f"on {len(nodes)} node(s) as here")
    return Check(
        name=name,
        verdict="warning",
        found=name_some(differing),
        cure=f"numbers may depend on the node; everywhere, {INSTALL}",
    )


def check_api(nodes: Sequence[NodeFacts]) -> Check:
    """Checks what Ray Train's cleaner needs (https://github.com/ray-project/ray/issues/54305)."""
    others = sorted({address for node in nodes for address in node.other_rays})
    beside = f"; beside it on the same hosts: Ray at {name_some(others)}" if others else ""
    mute = [node for node in nodes if node.api_problem]
    if not mute:
        return Check(name="dashboard API", verdict="ok", found=f"answers{beside}")
    names = name_some([node.node for node in mute])
    stop = "stop the other Ray" if others else "`ray start --head --include-dashboard=true`"
    return Check(
        name="dashboard API",
        verdict="warning",
        found=f"no answer on {names}: {mute[0].api_problem}{beside}; Ray cannot free the workers "
        "of a stopped trial by itself, and Rampart does it alone",
        cure=f"{stop}, or set RAY_API_SERVER_ADDRESS=http://HOST:8265 of the right one before Ray "
        "starts",
    )


def check_capacity(capacity: Capacity, resources: ResourcesConfig) -> Check:
    """Checks that the workers of all concurrent trials fit."""
    name, trials = "resources", resources.concurrent_trials
    cure = "lower resources.concurrent_trials, resources.{} or what a worker asks for, or add nodes"
    if missing := shortage(capacity.nodes, resources, runs=trials):
        verdict: Verdict = "warning" if capacity.may_grow else "failed"
        grows = "; an autoscaler may bring more" if capacity.may_grow else ""
        fewest = cure.format("min_workers")
        return Check(name=name, verdict=verdict, found=f"{missing}{grows}", cure=fewest)
    room, wanted = fitting(capacity.nodes, resources.per_worker), trials * resources.workers
    if room < wanted:
        found = f"room for {room} of {wanted} workers: trials go on with fewer"
        return Check(name=name, verdict="warning", found=found, cure=cure.format("workers"))
    gpus = sum(node.get("GPU", 0.0) for node in capacity.nodes)
    if gpus and not resources.gpus_per_worker:
        found, use = f"{gpus:g} GPUs that nobody asks for", "resources.gpus_per_worker=1"
        return Check(name=name, verdict="warning", found=found, cure=use)
    found = f"room for {room} workers, {wanted} wanted at a time"
    return Check(name=name, verdict="ok", found=found)


def check_gpus(gpus: Sequence[GpuFacts], *, busy: Sequence[str]) -> Check:
    """Checks that torch computes on every GPU that Ray hands out."""
    for node in gpus:
        if node.problem or len(node.devices) < node.promised:
            seen = f"torch computes on {len(node.devices)} of the {node.promised} GPUs of Ray"
            reason = f": {node.problem}" if node.problem else ""
            return Check(
                name="GPUs",
                verdict="failed",
                found=f"{node.node}: {seen}{reason}",
                cure=_gpu_cure(node),
            )
    if busy:
        found, cure = f"not looked at, in use: {name_some(busy)}", "ask again when they are free"
        return Check(name="GPUs", verdict="warning", found=found, cure=cure)
    count, kinds = sum(len(n.devices) for n in gpus), sorted({d for n in gpus for d in n.devices})
    return Check(name="GPUs", verdict="ok", found=f"{count}: {name_some(kinds)}")


def _gpu_cure(node: GpuFacts) -> str:
    if not node.cuda:
        return (
            "this torch is built without CUDA: install one of https://pytorch.org/get-started that "
            "the driver supports (`nvidia-smi` names its CUDA), or start Ray with --num-gpus=0"
        )
    return (
        f"`nvidia-smi` there must list the GPUs and a CUDA of {node.cuda} or later: update the "
        f"driver, or install a torch built for an earlier CUDA; or start Ray with --num-gpus="
        f"{len(node.devices)}"
    )


def check_paths(nodes: Sequence[NodeFacts]) -> Check:
    """Checks that every node has the files that the experiment names."""
    missing = [f"{path} on {node.node}" for node in nodes for path in node.missing_paths]
    if not missing:
        return Check(name="data on nodes", verdict="ok", found="all that is named is there")
    cure = "copy or mount it there at the same path; `rampart data pack` makes one file of images"
    return Check(
        name="data on nodes", verdict="failed", found=f"no {name_some(missing)}", cure=cure
    )


def check_limits(nodes: Sequence[NodeFacts]) -> list[Check]:
    """Checks what the system allows to processes."""
    files = [(n.node, n.open_files) for n in nodes]
    store = [(n.node, n.shared_memory_bytes, OBJECT_STORE * n.memory_bytes) for n in nodes]
    memory = [(n.node, n.free_memory_bytes, n.memory_bytes) for n in nodes]
    fewest, least = min(count for _, count in files), min(free for _, free, _ in memory)
    return [
        check_limit(
            "open files",
            [f"{node}: {count}" for node, count in files if count < LEAST_OPEN_FILES],
            found=f"{fewest} or more",
            cure="`ulimit -n 65536` before Ray starts",
        ),
        check_limit(
            "shared memory",
            [f"{n}: {gigabytes(has)} of {gigabytes(want)}" for n, has, want in store if has < want],
            found="/dev/shm holds Ray's object store",
            cure="Ray falls back on slow files in /tmp: `docker run --shm-size=...`, an emptyDir "
            "of medium Memory at /dev/shm, or `ray start --object-store-memory=...`",
        ),
        check_limit(
            "free memory",
            [
                f"{node}: {gigabytes(free)} of {gigabytes(total)}"
                for node, free, total in memory
                if free < LEAST_FREE_MEMORY * total
            ],
            found=f"{gigabytes(least)} or more",
            cure="end other processes, or lower resources.concurrent_trials: Ray kills workers "
            "when the memory is used up",
        ),
    ]


def _is_same(version: str, other: str) -> bool:
    """2.11.0+cpu and 2.11.0+cu130 are: a head without a GPU has another build."""
    return Version(version).public == Version(other).public
