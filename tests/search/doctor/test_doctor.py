"""What `rampart doctor` concludes, from facts of nodes that are made up here."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from repository import DEMO

from search.doctor.examine import check_token, named_paths
from search.doctor.folder_checks import check_database, check_folders, is_network, mount_of
from search.doctor.health import Check, FolderFacts, GpuFacts, NodeFacts, Verdict
from search.doctor.node_checks import (
    check_api,
    check_capacity,
    check_gpus,
    check_limits,
    check_paths,
    check_same_versions,
)
from search.folder import SearchFolder
from search.load import load_experiment
from search.resources import ResourcesConfig
from search.room import Capacity

MOUNTS = """\
overlay / overlay rw,relatime 0 0
proc /proc proc rw 0 0
nas:/export /shared nfs4 rw,vers=4.2 0 0
/dev/sdb1 /shared/local\\040disk ext4 rw 0 0
bucket /bucket fuse.gcsfuse rw 0 0
"""


def node(**changes: Any) -> NodeFacts:
    facts: dict[str, Any] = {
        "node": "a",
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "missing_paths": (),
        "folder": None,
        "open_files": 65536,
        "shared_memory_bytes": 40 * 10**9,
        "memory_bytes": 100 * 10**9,
        "free_memory_bytes": 90 * 10**9,
        "api_problem": "",
        "other_rays": (),
    }
    return NodeFacts.model_validate(facts | changes)


def folder(**changes: Any) -> FolderFacts:
    facts = {"place": "/r", "problem": "", "file_system": "ext4", "free_bytes": 10**12}
    return FolderFacts.model_validate(facts | changes)


def workers(**changes: Any) -> ResourcesConfig:
    asked: dict[str, Any] = {
        "concurrent_trials": 2,
        "workers": 2,
        "min_workers": 2,
        "cpus_per_worker": 4,
        "gpus_per_worker": 1.0,
        "worker_restarts": 0,
    }
    return ResourcesConfig.model_validate(asked | changes)


def verdicts(checks: list[Check]) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in checks}


@pytest.mark.parametrize(
    ("versions", "verdict", "words"),
    [
        ({"python": "3.11.7", "torch": "2.15.0+cu130"}, "ok", "1 node"),
        ({"python": "3.11.7", "torch": "2.14.0"}, "warning", "torch 2.14.0 on a, 2.15.0 here"),
        ({"python": "3.11.7", "torch": "2.9.0"}, "failed", "a: torch 2.9.0 (wanted >=2.11)"),
        ({"python": "3.11.7"}, "failed", "torch is missing"),
        ({"python": "3.12.1", "torch": "2.15.0"}, "warning", "python 3.12.1 on a"),
    ],
)
def test_nodes_have_the_versions_of_the_driver_but_any_build(
    versions: dict[str, str], verdict: Verdict, words: str
) -> None:
    here = {"python": "3.11.7", "torch": "2.15.0"}

    check = check_same_versions(
        [node(versions=versions)], here=here, wanted=[Requirement("torch>=2.11")]
    )

    assert (check.verdict, bool(check.cure)) == (verdict, verdict != "ok")
    assert words in check.found


@pytest.mark.parametrize(
    ("environ", "has_file", "address", "verdict", "words"),
    [
        ({}, False, None, "ok", "unset, token in no place"),
        ({}, True, "h:1", "ok", "token in ~/.ray/auth_token"),
        ({"RAY_AUTH_MODE": "token"}, False, None, "ok", "token"),  # a local Ray makes its own
        ({"RAY_AUTH_MODE": "token"}, False, "h:1", "failed", "there is no token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, False, "h:1", "ok", "RAY_AUTH_TOKEN"),
        ({"RAY_AUTH_MODE": "on"}, True, None, "failed", "got 'on'"),
        ({"RAY_AUTH_TOKEN_PATH": "/no/such"}, True, None, "failed", "nothing at /no/such"),
    ],
)
def test_mode_and_token_go_together(
    environ: Mapping[str, str], has_file: bool, address: str | None, verdict: Verdict, words: str
) -> None:
    check = check_token(environ, has_file=has_file, address=address)

    assert check.verdict == verdict
    assert words in check.found
    assert "'x'" not in check.found


@pytest.mark.parametrize(
    ("path", "kind", "over_network"),
    [
        ("/home/me/runs", "overlay", False),
        ("/shared/runs", "nfs4", True),
        ("/shared", "nfs4", True),
        ("/sharedness", "overlay", False),
        ("/shared/local disk/runs", "ext4", False),
        ("/bucket/a", "fuse.gcsfuse", True),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount(
    path: str, kind: str, over_network: bool
) -> None:
    assert mount_of(path, MOUNTS) == kind
    assert is_network(kind) == over_network


def test_sqlite_over_nfs_is_refused_but_not_a_journal() -> None:
    nodes = [node(folder=folder(file_system="nfs4"))]

    refused = check_folders(nodes, unseen=(), storage="sqlite")
    journal = check_folders(nodes, unseen=(), storage="journal")

    assert verdicts(refused)["storage"] == "failed"
    assert "SQLite on nfs4 (a)" in refused[1].found
    assert "storage: journal" in refused[1].cure
    assert verdicts(journal) == {"runs_dir": "ok", "free disk": "ok"}


def test_a_folder_must_be_writable_shared_and_have_room() -> None:
    fine = folder()
    closed = folder(problem="/r: Permission denied")
    full = folder(free_bytes=10**9)

    unwritable = check_folders(
        [node(folder=fine), node(node="b", folder=closed)], unseen=(), storage="journal"
    )
    unshared = check_folders([node(folder=fine)], unseen=[("a", "b")], storage="journal")
    scarce = check_folders([node(folder=full)], unseen=(), storage="journal")

    assert unwritable[0].found == "not writable on b: /r: Permission denied"
    assert unshared[0].found.startswith("a does not see what b writes")
    assert verdicts(scarce) == {"runs_dir": "ok", "free disk": "warning"}
    assert "a: 1 GB" in scarce[1].found


def test_a_database_that_is_not_there_says_so_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]

    check = check_database(
        SearchFolder(root=tmp_path), f"postgresql://me:secret@127.0.0.1:{port}/study"
    )

    assert check.verdict == "failed"
    assert f"127.0.0.1:{port}/study" in check.found
    assert check.cure
    assert "secret" not in check.found + check.cure


@pytest.mark.parametrize(
    ("nodes", "may_grow", "changes", "verdict", "words"),
    [
        ([(16, 4)], False, {}, "ok", "4 wanted at a time"),
        ([(15, 4)], False, {}, "failed", "room for 3"),
        ([(15, 4)], True, {}, "warning", "an autoscaler may bring more"),
        # 16 CPUs and 4 GPUs in all, but not where the others are.
        ([(16, 0), (0, 4)], False, {}, "failed", "room for 0"),
        ([(8, 2)], False, {"min_workers": 1}, "warning", "trials go on with fewer"),
        ([(64, 8)], False, {"gpus_per_worker": 0.0}, "warning", "8 GPUs that nobody asks for"),
    ],
)
def test_the_workers_of_all_concurrent_trials_must_fit(
    nodes: list[tuple[int, int]],
    may_grow: bool,
    changes: dict[str, Any],
    verdict: Verdict,
    words: str,
) -> None:
    amounts = tuple({"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in nodes)

    check = check_capacity(Capacity(nodes=amounts, may_grow=may_grow), workers(**changes))

    assert (check.verdict, bool(check.cure)) == (verdict, verdict != "ok")
    assert words in check.found


@pytest.mark.parametrize(
    ("devices", "cuda", "problem", "cure"),
    [
        ((), "", "", "built without CUDA"),
        ((), "13.0", "The NVIDIA driver on your system is too old", "update the driver"),
        (("H200",), "13.0", "", "--num-gpus=1"),
    ],
)
def test_gpus_that_torch_cannot_use_fail(
    devices: tuple[str, ...], cuda: str, problem: str, cure: str
) -> None:
    facts = GpuFacts(node="a", promised=2, devices=devices, cuda=cuda, problem=problem)

    check = check_gpus([facts], busy=())

    assert check.verdict == "failed"
    assert f"on {len(devices)} of the 2 GPUs" in check.found
    assert problem in check.found
    assert cure in check.cure


def test_gpus_in_use_are_a_warning_and_good_ones_are_counted() -> None:
    good = GpuFacts(node="a", promised=2, devices=("H200", "H200"), cuda="13.0", problem="")

    assert check_gpus([good], busy=()).found == "2: H200"
    assert check_gpus([good], busy=("b",)).verdict == "warning"


def test_a_mute_dashboard_is_a_warning_that_names_the_other_ray() -> None:
    alone = check_api([node()])
    mute = check_api([node(api_problem="no server", other_rays=("10.0.0.1:6379",))])

    assert (alone.verdict, mute.verdict) == ("ok", "warning")
    assert "no server" in mute.found
    assert "Ray at 10.0.0.1:6379" in mute.found
    assert "RAY_API_SERVER_ADDRESS" in mute.cure


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"open_files": 1024}, "open files"),
        ({"shared_memory_bytes": 64 * 2**20}, "shared memory"),  # Docker's default
        ({"free_memory_bytes": 9 * 10**9}, "free memory"),
    ],
)
def test_a_limit_below_what_ray_wants_is_a_warning(changes: dict[str, Any], name: str) -> None:
    checks = check_limits([node(), node(node="b", **changes)])

    warned = [check for check in checks if check.verdict == "warning"]

    assert [check.name for check in warned] == [name]
    assert warned[0].found.startswith("b: ")
    assert warned[0].cure


def test_a_path_that_a_node_lacks_fails() -> None:
    check = check_paths([node(), node(node="b", missing_paths=("/data/train",))])

    assert (check.verdict, check.found) == ("failed", "no /data/train on b")


def test_paths_of_trials_and_of_full_runs_are_looked_for() -> None:
    config = load_experiment(DEMO, {"base.weights.init": "/w/start.pt"})

    assert named_paths(config) == ("/w/start.pt",)
