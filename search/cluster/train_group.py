"""Ray Train's worker group of one run: how it starts, and when it is given up."""

from typing import Any

from ray.train import Result, ScalingConfig
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import (
    PlacementGroupCleanerCallback,
)
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    SchedulingState,
    TrainControllerState,
)
from ray.train.v2.api.callback import RayTrainCallback
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from search.cluster.capacity import Patience
from search.cluster.elastic import RESIZE_S, FreeNow
from search.resources import WorkersConfig

_UNUSED = (DatasetsCallback, PlacementGroupCleanerCallback)
"""Each costs a process per run; we have no datasets, and a reaper of our own (`reaper`)."""
_WAITING = (InitializingState, SchedulingState, ReschedulingState, RestartingState)


def scaling_config(resources: WorkersConfig) -> ScalingConfig:
    """Returns what Ray Train wants to know of the workers."""
    is_fixed = resources.min_workers == resources.workers
    return ScalingConfig(
        num_workers=resources.workers if is_fixed else (resources.min_workers, resources.workers),
        use_gpu=resources.gpus_per_worker > 0,
        resources_per_worker=resources.per_worker,
        elastic_resize_monitor_interval_s=RESIZE_S,
    )


class GroupTrainer(DataParallelTrainer):
    """Starts a worker group with no more processes than it needs; an elastic one on what is free.

    An elastic group starts as many workers as fit, and more when there is room.
    """

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if not isinstance(callback, _UNUSED)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Result:
        if self.scaling_config.elasticity_enabled:
            arguments["scaling_policy"] = FreeNow(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)


class GiveUpOversized(ControllerCallback):
    """In the controller: ends a run that waits for more than the whole cluster has.

    One that waits for others to finish goes on waiting.
    """

    def __init__(self, resources: WorkersConfig) -> None:
        """`resources` are those of the run."""
        self._patience = Patience(resources)

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """Called by Ray Train before each try to start a group, and then all the time.

        Raises:
            OversizedError: If the fewest workers have not fitted for too long.
        """
        del previous_state
        if isinstance(current_state, _WAITING):
            self._patience.look()
        else:
            self._patience.renew()
