"""Ray: a local instance of our own, or a cluster that is already there."""

import logging
import os
import platform
import signal
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    AuthenticationError,
    GetTimeoutError,
)

from search.books.spending import DEFAULT_NODE, price_of
from search.cluster.capacity import NODE_GROUP, cluster_capacity
from search.errors import UserError
from search.resources import WorkersConfig
from search.room import shortage
from search.source import ROOMS, ROOT

_PROBE_S = 120

# Read by Ray in this process, and passed on to every worker.
_ENVIRONMENT = {
    # How often a controller looks at its workers; 2 s by default, so each report would wait for it.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A group that waits is asked for anew each time, so that a run sees whether it still can fit.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    # Tune's per-trial files repeat what our records hold.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # With verbose=0: silence; progress is our own.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C interrupts at once, instead of ending the search as if it were done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A process per trial that only warns of what the driver repairs: a worker that is gone.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@contextmanager
def connected(address: str | None, resources: WorkersConfig, *, concurrent: int) -> Generator[None]:
    """Connects to the cluster at `address`, or starts a local Ray; leaves or ends it afterwards.

    Args:
        concurrent: Runs with those workers that go on side by side.

    Raises:
        UserError: If the cluster cannot be reached or cannot hold the concurrent trials.
    """
    os.environ.update(_ENVIRONMENT)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    if address is None:
        _start_local()
    else:
        _join(address)
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own there, which says nothing
    try:
        _check_capacity(resources, concurrent, "this machine" if address is None else address)
        yield
    finally:
        ray.shutdown()


def describe_hardware() -> str:
    """Returns one line for a model card: nodes, CPUs and GPUs of the cluster."""
    resources = ray.cluster_resources()
    gpus = [name.split(":")[1] for name in resources if name.startswith("accelerator_type:")]
    parts = [f"{resources.get('CPU', 0):g} CPUs ({_processor()})"]
    if gpus:
        parts.append(f"{resources.get('GPU', 0):g} GPUs ({', '.join(gpus)})")
    return f"Ray cluster of {len(ray.nodes())} node(s): " + ", ".join(parts)


def node_types() -> list[str]:
    """Returns the type of each node that is alive, for its price; `default` where none is said."""
    labels = [node.get("Labels", {}) for node in ray.nodes() if node["Alive"]]
    names = ("rampart/node-type", NODE_GROUP)
    return [next((one[name] for name in names if one.get(name)), DEFAULT_NODE) for one in labels]


def cluster_address() -> str:
    """Returns what tells the cluster that this process is connected to from others."""
    return str(ray.get_runtime_context().gcs_address)


def require_prices(prices: Mapping[str, float]) -> None:
    """Raises UserError if the budget has prices, but none for a node that is there."""
    try:
        if prices:
            price_of(node_types(), prices)
    except ValueError as error:
        raise UserError(str(error)) from error


def _start_local() -> None:
    # With a second Ray on the host, the dashboard's default port is the other one's, and Ray
    # Train's cleaner would ask the wrong instance whether our controllers live.
    port = _free_port()
    os.environ["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
    ray.init(address="local", dashboard_port=port, **_quiet())


def _join(address: str) -> None:
    try:
        _knock(address)
        ray.init(
            address=address,
            runtime_env={
                "env_vars": _ENVIRONMENT,
                "py_modules": [str(ROOT / package) for package in ROOMS],
            },
            **_quiet(),
        )
        _prove_actors()
    except (OSError, AuthenticationError, ValueError, RuntimeError) as error:
        ray.shutdown()
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"cannot join the Ray cluster at {address}: {reason}\n"
            "Give --address as HOST:PORT of its head (`ray start --head` prints it); a cluster "
            "with token authentication wants RAY_AUTH_MODE=token and its token in RAY_AUTH_TOKEN "
            "or ~/.ray/auth_token, and one without it wants RAY_AUTH_MODE=disabled."
        ) from error


def _prove_actors() -> None:
    """Raises RuntimeError if the cluster starts no actor for us.

    With RAY_AUTH_MODE=token, Ray joins a cluster without authentication and every actor dies.
    """
    actor_class: Any = ray.remote(num_cpus=0)(_Probe)
    probe = actor_class.remote()
    try:
        ray.get(probe.__ray_ready__.remote(), timeout=_PROBE_S)
    except (ActorDiedError, ActorUnschedulableError, GetTimeoutError) as error:
        raise RuntimeError(f"it starts no process for us: {error}") from error
    ray.kill(probe)


class _Probe:
    """An actor that does nothing."""


def _knock(address: str) -> None:
    """Raises OSError at once where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _check_capacity(resources: WorkersConfig, concurrent: int, where: str) -> None:
    cluster = cluster_capacity()
    missing = shortage(cluster.nodes, resources, runs=concurrent)
    if missing and not cluster.may_grow:
        fewer = "resources.concurrent_trials, " if concurrent > 1 else ""
        raise UserError(
            f"{where} is too small: {missing}; lower {fewer}"
            "resources.min_workers or what a worker asks for, or add nodes"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
