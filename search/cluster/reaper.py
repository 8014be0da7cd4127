"""Frees the workers of trials that Tune stopped.

When Tune stops a trial, its driver and controller die at once, and the placement group of the
workers stays. Ray Train's own cleaner asks the dashboard's API whether the controller lives, and
never frees anything when that API is missing or another Ray instance runs on the host
(https://github.com/ray-project/ray/issues/54305). So each controller notes its placement groups
in the cluster's key-value store, and the tuner removes those of trials that are no longer running.
"""

# pyright: reportPrivateUsage=false
# Ray has no public way to name a placement group or to keep a note in its key-value store.

import ray
from ray._raylet import PlacementGroupID
from ray.experimental import internal_kv
from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.util.placement_group import PlacementGroup, remove_placement_group

_PREFIX = "rampart-placement-group"


class RememberPlacementGroup(WorkerGroupCallback):
    """Notes the placement group of every worker group that a controller starts."""

    def __init__(self, key: str) -> None:
        """`key` names the trial; unique within the Ray job's search."""
        self._key = key

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Called by Ray Train in the controller."""
        state = worker_group.get_worker_group_state()
        group = state.placement_group_handle.placement_group
        internal_kv._internal_kv_put(f"{_job_prefix()}{self._key}/{group.id.hex()}", b"")


def reap(keys: set[str]) -> list[str]:
    """Removes the placement groups of the trials `keys`; returns the keys that had any."""
    reaped: list[str] = []
    for name in internal_kv._internal_kv_list(_job_prefix()):
        text = name.decode()
        key, group_id = text.removeprefix(_job_prefix()).split("/")
        if key in keys:
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group_id)))
            internal_kv._internal_kv_del(text)
            reaped.append(key)
    return reaped


def _job_prefix() -> str:
    """Searches that share a cluster are different jobs."""
    return f"{_PREFIX}/{ray.get_runtime_context().get_job_id()}/"
