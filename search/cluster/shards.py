"""An evaluation on Ray: a task for each shard, which tells the journals, not us."""

from collections.abc import Callable, Sequence
from typing import Literal

import ray
from ray.exceptions import RayError

from evaluation.shard import ShardPayload
from search.cluster.capacity import OversizedError, Patience
from search.errors import UserError
from search.resources import WorkersConfig

POLL_S = 1.0
RETRIES = 3
"""Of a shard whose process dies; what it found until then is not done again."""


def capacity() -> tuple[Literal["cpu", "cuda"], int]:
    """Returns what shards compute on here, and how many of them run side by side."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    return ("cuda", gpus) if gpus else ("cpu", int(resources.get("CPU", 1)))


def run_shards(
    payloads: Sequence[ShardPayload],
    resources: WorkersConfig,
    *,
    on_poll: Callable[[], None],
) -> None:
    """Runs all shards, as many side by side as the cluster holds.

    Args:
        resources: Of each shard.

    Raises:
        UserError: If a shard raised, or its process died too often.
    """
    options = {"num_cpus": resources.cpus_per_worker, "num_gpus": resources.gpus_per_worker}
    waiting = [_run.options(**options).remote(payload.model_dump_json()) for payload in payloads]
    patience = Patience(resources)
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=POLL_S)
        try:
            ray.get(done)
            patience.look()
        except (RayError, OversizedError) as error:
            for other in waiting:
                ray.cancel(other, force=True)
            reason = str(error).strip().splitlines()[-1]
            raise UserError(f"a shard failed: {reason}") from error
        on_poll()


@ray.remote(max_retries=RETRIES)
def _run(text: str) -> None:
    from evaluation.shard import run_shard

    run_shard(ShardPayload.model_validate_json(text), lambda: None)
