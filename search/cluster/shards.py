"""An evaluation on Ray: a task for each shard, which tells the journals, not us."""

from collections.abc import Callable, Sequence

import ray
from ray.exceptions import RayError

from evaluation.shard import ShardPayload
from search.errors import UserError
from search.resources import WorkersConfig

POLL_S = 1.0
RETRIES = 3
"""Of a shard whose process dies; what it found until then is not done again."""


def run_shards(
    payloads: Sequence[ShardPayload],
    resources: WorkersConfig,
    *,
    on_poll: Callable[[], None],
) -> list[str]:
    """Runs all shards, as many side by side as the cluster holds; returns their warnings.

    Args:
        resources: Of each shard.

    Raises:
        UserError: If a shard raised, or its process died too often.
    """
    options = {"num_cpus": resources.cpus_per_worker, "num_gpus": resources.gpus_per_worker}
    waiting = [_run.options(**options).remote(payload.model_dump_json()) for payload in payloads]
    warnings: list[str] = []
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=POLL_S)
        for reference in done:
            try:
                warnings += ray.get(reference)
            except RayError as error:
                for other in waiting:
                    ray.cancel(other, force=True)
                reason = str(error).strip().splitlines()[-1]
                raise UserError(f"a shard failed: {reason}") from error
        on_poll()
    return warnings


@ray.remote(max_retries=RETRIES)
def _run(text: str) -> tuple[str, ...]:
    from evaluation.shard import run_shard

    return run_shard(ShardPayload.model_validate_json(text), lambda: None)
