"""A real PostgreSQL for tests: in a folder of its own, on a free port of localhost."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD = "p@ss/w%rd:1"
"""With characters that mean something in a URL."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    where = str(found[-1]) if found else shutil.which("pg_ctl")
    if where is None:
        message = "no PostgreSQL server is installed: apt-get install postgresql"
        # A test that CI never runs proves nothing.
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return Path(where).parent


@contextmanager
def postgres_server() -> Generator[int]:
    """Starts a server with the user `rampart` and the database `rampart`; yields its port."""
    bin_dir, port = _binaries(), free_port()

    def run(program: str, *arguments: str) -> None:
        # The server refuses to run as root.
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*prefix, str(bin_dir / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=os.environ | {"PGPASSWORD": PASSWORD},
            timeout=120,
        )

    # Not in pytest's folder, which only its own user may enter.
    with tempfile.TemporaryDirectory(prefix="rampart-postgres-") as folder:
        secret, data = Path(folder, "secret"), str(Path(folder, "data"))
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(secret, "postgres")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        run(
            *("initdb", "-D", data, "-U", "rampart", "-A", "scram-sha-256"),
            *("--pwfile", str(secret), "--no-sync", "--no-instructions"),
        )
        log = str(Path(folder, "log"))
        run("pg_ctl", "-D", data, "-o", f"{settings} -c fsync=off", "-l", log, "-w", "start")
        try:
            run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "rampart", "rampart")
            yield port
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
