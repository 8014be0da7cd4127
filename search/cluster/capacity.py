"""What the nodes of the cluster have, and how long to wait for what they have not."""

# pyright: reportPrivateUsage=false
# Ray has no public way to see which nodes are about to go.

import time
from typing import Any

import ray
from ray._private.state import state

from search.resources import WorkersConfig
from search.room import Capacity, shortage

NODE_GROUP = "ray.io/node-group"
"""Ray's name of the label that its launcher and KubeRay put on the nodes that they start."""
LOST_S = 20.0
"""For a node that went to come back, before what does not fit without it is given up."""
GROWTH_S = 1800.0
"""The same where an autoscaler may bring nodes."""


class OversizedError(Exception):
    """What was asked for would not fit if the cluster were empty."""


def staying_nodes() -> list[dict[str, Any]]:
    """Returns those of `ray.nodes()` that live and are not about to go."""
    draining = state.get_draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in draining]


def cluster_capacity() -> Capacity:
    """Returns what the nodes that stay have in total.

    An autoscaler (that of Ray's launcher since 2.50, or KubeRay's) is known by the groups of the
    nodes; Ray does not tell how many more it may start.
    """
    nodes = staying_nodes()
    return Capacity(
        nodes=tuple(node["Resources"] for node in nodes),
        may_grow=any(NODE_GROUP in node["Labels"] for node in nodes),
    )


class Patience:
    """Tells waiting for others to finish, which has an end, from waiting for what is not there."""

    def __init__(self, resources: WorkersConfig) -> None:
        """`resources` are those of the run that waits."""
        self._resources = resources
        self.renew()

    def renew(self) -> None:
        """Begins anew: the run has what it asked for."""
        self._fitted_at = time.monotonic()

    def look(self) -> None:
        """Raises OversizedError if the fewest workers have not fitted for too long."""
        cluster = cluster_capacity()
        missing = shortage(cluster.nodes, self._resources, runs=1)
        if missing is None:
            self.renew()
        elif time.monotonic() - self._fitted_at >= (GROWTH_S if cluster.may_grow else LOST_S):
            raise OversizedError(missing)
