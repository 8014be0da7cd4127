"""Frees the workers of runs whose controller is gone.

When Tune stops a trial, its driver and controller die at once, and the placement group of the
workers stays until the Ray job ends; so it does when either is killed. Ray Train's own cleaner, a
process per run, asks the dashboard's API whether the controller lives, and never frees anything
when that API is missing or another Ray instance runs on the host
(https://github.com/ray-project/ray/issues/54305). But Ray's own books tell whose creator died.
"""

# pyright: reportPrivateUsage=false
# Ray has no public way to ask who created a placement group, or to name one by its id.

from typing import Any

import ray
from ray._private.state import state
from ray._raylet import ActorID, PlacementGroupID
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

_TABLE_DATA: Any = vars(gcs_pb2)["PlacementGroupTableData"]  # made at run time by protobuf


def reap() -> int:
    """Removes the placement groups of this Ray job whose creator died; returns how many.

    Searches that share a cluster are different jobs. Takes a millisecond or two.
    """
    table = state._connect_and_get_accessor().get_placement_group_table()
    groups: list[Any] = [_TABLE_DATA.FromString(row) for row in table]
    orphans = [group.placement_group_id for group in groups if _is_orphan(group)]
    for group_id in orphans:
        remove_placement_group(PlacementGroup(PlacementGroupID(group_id)))
    return len(orphans)


def _is_orphan(group: Any) -> bool:
    # A group that the job itself created, such as Tune's of a driver, has no actor as its creator,
    # and counts as one whose actor is dead.
    is_an_actors = not ActorID(group.creator_actor_id).is_nil()
    return (
        is_an_actors
        and group.creator_actor_dead
        and group.creator_job_id.hex() == ray.get_runtime_context().get_job_id()
        and group.state != _TABLE_DATA.REMOVED
    )
