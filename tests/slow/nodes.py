"""A Ray cluster of our own on this machine, one CPU a node, whose nodes can be lost and added."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

RAY = str(Path(sys.executable).with_name("ray"))
COMMON = ["--num-cpus=1", "--disable-usage-stats", "--block"]


class Nodes:
    """The head and what was added to it."""

    def __init__(self) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self._environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        self._nodes = [self._start("--head", f"--port={port}")]
        self._wait()

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self._nodes:
            os.killpg(node.pid, signal.SIGTERM)
        for node in self._nodes:
            node.wait(timeout=90)

    def add(self) -> None:
        """Starts a node, and waits until the cluster has it."""
        self._nodes.append(self._start(f"--address={self.address}"))
        self._wait()

    def lose(self) -> None:
        """Kills all processes of the node that came last."""
        node = self._nodes.pop()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.getsid(int(entry.name)) == node.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # In the foreground, in a session of its own: `ray stop` would stop every Ray of the host.
        return subprocess.Popen(
            [RAY, "start", *arguments, *COMMON],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait(self) -> None:
        command, said = [RAY, "status", f"--address={self.address}"], ""
        for _ in range(60):
            run = subprocess.run(command, env=self._environment, capture_output=True, text=True)
            said = run.stdout
            if f"/{len(self._nodes)}.0 CPU" in said:
                return
            time.sleep(1)
        raise AssertionError(f"the cluster does not come up: {said}")
