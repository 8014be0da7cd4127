"""What `rampart doctor` sees of a cluster, and what it says about it. Light: no torch, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text

from models.config import Config
from search.room import Capacity

Verdict = Literal["ok", "warning", "failed"]
STYLES: dict[Verdict, str] = {"ok": "green", "warning": "yellow", "failed": "red"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    found: str
    cure: str = ""
    """A command, or a field to change; empty if all is well."""


class FolderFacts(Config):
    """The folder of results, as one node has it. Nothing but a file for a moment is written."""

    place: str
    """The folder, or its nearest parent that exists."""
    problem: str
    """Why no file can be written there; empty if one can."""
    file_system: str
    """Its type, as in /proc/mounts."""
    free_bytes: int


class NodeFacts(Config):
    """What a process on a node sees there."""

    node: str
    versions: dict[str, str]
    """As `search.doctor.versions.installed` returns them."""
    missing_paths: tuple[str, ...]
    """Of the files and folders that were asked for."""
    folder: FolderFacts | None
    open_files: int
    """The soft limit."""
    shared_memory_bytes: int
    memory_bytes: int
    free_memory_bytes: int
    api_problem: str
    """Why Ray's State API does not answer from here; empty if it does."""
    other_rays: tuple[str, ...]
    """Addresses of further Ray instances that have processes on this host."""


class GpuFacts(Config):
    """What torch makes of the GPUs of a node."""

    node: str
    promised: int
    """GPUs that Ray says the node has."""
    devices: tuple[str, ...]
    """Those that torch computed on."""
    cuda: str
    """CUDA's version that torch was built for; empty if it was built without."""
    problem: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every node is asked."""

    packages: tuple[str, ...]
    folder: str
    """Absolute; empty if no results are to be written."""
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """What all nodes answered."""

    capacity: Capacity
    nodes: tuple[NodeFacts, ...]
    silent: dict[str, str]
    """Nodes that did not answer, and why."""
    unseen: tuple[tuple[str, str], ...]
    """Pairs of a node and another one whose file in the folder it does not see."""
    gpus: tuple[GpuFacts, ...]
    busy: tuple[str, ...]
    """Nodes whose GPUs could not be had in time."""


def checks_table(checks: Sequence[Check]) -> Table:
    """Returns a row for each check, with its cure below what was found."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for header, least in (("check", 14), ("", 7), ("found", 20)):
        table.add_column(header, overflow="fold", min_width=least)
    for check in checks:
        found = Text(check.found)
        if check.cure:
            found.append(f"\n-> {check.cure}", style="bold")
        table.add_row(Text(check.name), Text(check.verdict, STYLES[check.verdict]), found)
    return table


def name_some(names: Sequence[str]) -> str:
    """Returns the first three names, and how many more there are."""
    shown, more = ", ".join(names[:3]), len(names) - 3
    return f"{shown} and {more} more" if more > 0 else shown


def check_limit(name: str, scarce: Sequence[str], *, found: str, cure: str) -> Check:
    """Warns of the nodes, in words, where something is scarce; else says what was found."""
    if scarce:
        return Check(name=name, verdict="warning", found=name_some(scarce), cure=cure)
    return Check(name=name, verdict="ok", found=found)


def gigabytes(count: float) -> str:
    """Returns a number of bytes in words."""
    return f"{count / 1e9:.3g} GB"
