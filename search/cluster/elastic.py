"""Worker groups that shrink and grow, and workers that learn of their end in time to save.

Ray's own elastic policy counts what the cluster has in total (`AutoscalingCoordinator`), and so
asks for workers where other runs sit; ours counts what is free.
"""

# pyright: reportPrivateUsage=false
# Ray Train has no public way to another scaling policy.

import time
from collections.abc import Mapping
from typing import Any

from ray._private.state import available_resources_per_node, state
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.callback import WorkerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.scaling_policy import (
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.scaling_policy.elastic import ElasticScalingPolicy
from ray.train.v2._internal.execution.worker_group import (
    Worker,
    WorkerGroup,
    WorkerGroupPollStatus,
    WorkerGroupState,
)

from search.cluster.capacity import staying_nodes
from search.room import Amounts, fitting
from trainers import stop

RESIZE_S = 10.0
"""How often a run that has fewer workers than planned looks for more."""
GRACE_S = 4.0
"""For the last checkpoint; Ray kills a worker 5 s after it told it of its end."""

Held = dict[str, dict[str, float]]
"""By id of the node: name and amount of each resource."""


class Notice(WorkerCallback):
    """Tells the training thread of a worker that its process is about to end."""

    def after_init_train_context(self) -> None:
        """Called by Ray Train in the main thread of the worker, where signals are handled."""
        stop.listen()

    def before_worker_shutdown(self) -> None:
        """Called there before a group grows, after a peer died, and at the end."""
        stop.must_stop.set()
        stop.has_ended.wait(GRACE_S)


class LeaveDraining(WorkerGroupCallback):
    """In the controller: has the workers save and end when one of their nodes is to go.

    A node drains after `ray drain-node`, and for 30 s after SIGTERM to its `ray start --block`.
    """

    def __init__(self) -> None:
        """Knows no workers yet."""
        self._workers: list[Worker] = []
        self._next_look = 0.0

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Called by Ray Train for each new group."""
        self._workers = list(worker_group.get_workers())

    def after_worker_group_poll_status(self, worker_group_status: WorkerGroupPollStatus) -> None:
        """Called by Ray Train several times a second."""
        del worker_group_status
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + 1
        draining = state.get_draining_nodes()
        if any(worker.metadata.node_id in draining for worker in self._workers):
            for worker in self._workers:
                worker.actor.shutdown.remote()  # its `Notice.before_worker_shutdown`
            self._workers = []


class FreeNow(ElasticScalingPolicy):
    """As many workers as fit into what is free now, and what they hold themselves."""

    def __init__(self, scaling_config: ScalingConfig) -> None:
        """Holds nothing yet."""
        super().__init__(scaling_config)
        self._held: Held = {}

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Ray's question before a group starts."""
        self._held = {}
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            time.sleep(1)  # the controller would ask again at once
        return decision

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision | ResizeDecision:
        """Ray's question while it runs."""
        self._held = {}
        for worker in worker_group_state.workers:
            node = self._held.setdefault(worker.metadata.node_id, {})
            for name, amount in worker.resources.items():
                node[name] = node.get(name, 0.0) + amount
        return super().make_decision_for_running_worker_group(
            worker_group_state, worker_group_status
        )

    def _get_reserved_resources(self) -> Held:
        free = available_resources_per_node()
        nodes: list[str] = [node["NodeID"] for node in staying_nodes()]
        names = self.scaling_config._resources_per_worker_not_none
        return {
            node: {
                name: free.get(node, {}).get(name, 0) + self._held.get(node, {}).get(name, 0)
                for name in names
            }
            for node in nodes
        }

    def _count_possible_workers(self, reserved_resources: Mapping[str, Amounts]) -> int:
        # Ray's own count finds nine workers of 0.1 GPU on one.
        worker: Any = self.scaling_config._resources_per_worker_not_none
        return min(fitting(reserved_resources.values(), worker), self.scaling_config.max_workers)
