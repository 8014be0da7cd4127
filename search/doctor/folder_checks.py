"""What `rampart doctor` concludes about the places of results: the folder, and the database."""

import re
from collections.abc import Mapping, Sequence

from search.books.storage import open_storage
from search.doctor.health import Check, FolderFacts, NodeFacts, check_limit, gigabytes, name_some
from search.errors import UserError
from search.folder import SearchFolder

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs")
"""File systems whose locks SQLite cannot rely on (https://www.sqlite.org/faq.html#q5); what FUSE
mounts is counted to them, too: sshfs, gcsfuse, s3fs, GlusterFS, JuiceFS."""
LEAST_FREE_BYTES = 10e9
"""A ConvNeXt-L, its average and AdamW's moments are 3.2 GB; a run keeps two such checkpoints."""


def check_folders(
    nodes: Sequence[NodeFacts], *, unseen: Sequence[tuple[str, str]], storage: str
) -> list[Check]:
    """Checks that every node can write results where all others read them."""
    folders = {node.node: node.folder for node in nodes if node.folder}
    checks = [_check_shared({n: f.problem for n, f in folders.items() if f.problem}, unseen)]
    systems = {n: f.file_system for n, f in folders.items() if is_network(f.file_system)}
    if storage == "sqlite":
        checks.append(_check_sqlite(systems))
    return [*checks, _check_room(folders)]


def _check_shared(problems: Mapping[str, str], unseen: Sequence[tuple[str, str]]) -> Check:
    if problems:
        node, problem = next(iter(problems.items()))
        return Check(
            name="runs_dir",
            verdict="failed",
            found=f"not writable on {name_some(list(problems))}: {problem}",
            cure=f"name another runs_dir, or give the user that runs Ray on {node} the right to "
            "write there",
        )
    if unseen:
        reader, writer = unseen[0]
        return Check(
            name="runs_dir",
            verdict="failed",
            found=f"{reader} does not see what {writer} writes ({len(unseen)} such pairs)",
            cure="set runs_dir to storage that every node has at the same path, such as NFS or EFS",
        )
    found = "every node writes there, and sees what the others write"
    return Check(name="runs_dir", verdict="ok", found=found)


def _check_sqlite(systems: Mapping[str, str]) -> Check:
    if not systems:
        found = "SQLite on a file system that locks files"
        return Check(name="storage", verdict="ok", found=found)
    types = ", ".join(sorted(set(systems.values())))
    return Check(
        name="storage",
        verdict="failed",
        found=f"SQLite on {types} ({name_some(list(systems))}): its locks do not hold there, and "
        "the study can be damaged",
        cure="storage: journal, or a URL as in storage: postgresql://USER:PASSWORD@HOST/NAME",
    )


def _check_room(folders: Mapping[str, FolderFacts]) -> Check:
    free = {node: folder.free_bytes for node, folder in folders.items()}
    return check_limit(
        "free disk",
        [f"{node}: {gigabytes(b)}" for node, b in free.items() if b < LEAST_FREE_BYTES],
        found=f"{gigabytes(min(free.values(), default=0))} or more for runs_dir",
        cure="make room, or move runs_dir; checkpoints.keep says how many a run keeps",
    )


def check_database(folder: SearchFolder, storage: str) -> Check:
    """Opens the database of a study as a search does, which creates Optuna's tables in a new one.

    Args:
        storage: A URL, or a variable that holds one.
    """
    try:
        open_storage(folder, storage)
    except UserError as error:
        found, _, cure = str(error).partition("; ")
        return Check(name="storage", verdict="failed", found=found, cure=cure)
    return Check(name="storage", verdict="ok", found="the database lets this machine in")


def is_network(file_system: str) -> bool:
    """Whether files there are locked over a network, if at all."""
    return file_system in NETWORK or file_system.startswith("fuse.")


def mount_of(path: str, mounts: str) -> str:
    """Returns the type of the file system that holds `path`, from the text of /proc/mounts."""
    found: tuple[int, str] = (0, "unknown")
    for line in mounts.splitlines():
        point, kind = line.split(" ", 3)[1:3]
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point)  # a blank: \040
        if f"{path}/".startswith(f"{point.rstrip('/')}/") and len(point) >= found[0]:
            found = (len(point), kind)
    return found[1]
