"""Worker groups that shrink and grow, and workers that learn of their end in time to save.

Ray's own elastic policy counts what the cluster has in total (`AutoscalingCoordinator`), and so
asks for workers where other runs sit; ours counts what is free.
"""

# pyright: reportPrivateUsage=false
# Ray Train has no public way to another scaling policy.

import os
import time
from typing import Any

import ray
from ray._private.state import available_resources_per_node, state
from ray.train import Result, ScalingConfig
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
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from search.resources import WorkersConfig
from trainers import stop

RESIZE_S = 10.0
"""How often a run that has fewer workers than planned looks for more."""
START_S = 60
"""A group that does not start by then is asked for anew: its node may have gone meanwhile."""
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


def scaling_config(resources: WorkersConfig) -> ScalingConfig:
    """Returns what Ray Train wants to know of the workers."""
    is_fixed = resources.min_workers == resources.workers
    return ScalingConfig(
        num_workers=resources.workers if is_fixed else (resources.min_workers, resources.workers),
        use_gpu=resources.gpus_per_worker > 0,
        resources_per_worker=resources.per_worker,
        elastic_resize_monitor_interval_s=RESIZE_S,
    )


class ElasticTrainer(DataParallelTrainer):
    """Starts as many workers as fit, and more when there is room."""

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(START_S)
        arguments["scaling_policy"] = FreeNow(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)


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
        free, draining = available_resources_per_node(), state.get_draining_nodes()
        nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] not in draining]
        names = self.scaling_config._resources_per_worker_not_none
        return {
            node: {
                name: free.get(node, {}).get(name, 0) + self._held.get(node, {}).get(name, 0)
                for name in names
            }
            for node in nodes
        }
