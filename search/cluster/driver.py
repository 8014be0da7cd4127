"""The driver of one trial: starts its Ray Train worker group, and goes on where a worker died.

Runs as a Tune trainable (a trial) or as a Ray task (a full run). On its import path there is no
torch: driver and controller are processes of their own, two per trial.
"""

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.exceptions import RayActorError
from ray.train import (
    ControllerError,
    FailureConfig,
    RunConfig,
    TrainingFailedError,
    UserCallback,
    WorkerGroupError,
)
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from models.config import Config
from search.cluster.capacity import OversizedError
from search.cluster.elastic import LeaveDraining, Notice
from search.cluster.train_group import GiveUpOversized, GroupTrainer, scaling_config
from search.payload import DriverPayload
from trainers.stop import StoppedError

FAILURE = "failure"
"""Key of a report: a `Failure` as JSON text."""


class Failure(Config):
    """Why a trial could not go on."""

    reason: str
    error: str
    """Traceback."""


def drive_trial(params: dict[str, Any]) -> None:
    """The Tune trainable: `params["payload"]` is a `DriverPayload` as JSON text."""
    payload = DriverPayload.model_validate_json(params["payload"])
    # Tune wants the callback to be built inside its own function.
    failure = train(payload, reporter=TuneReportCallback)
    if failure is not None:
        tune.report({FAILURE: failure.model_dump_json()})


def train(payload: DriverPayload, *, reporter: Callable[[], UserCallback]) -> Failure | None:
    """Trains to the last epoch; a worker's death is repaired, an error of training is returned."""
    restarts = payload.resources.worker_restarts
    while True:
        try:
            _trainer(payload, reporter()).fit()
            return None
        except (TrainingFailedError, RayActorError) as error:
            if restarts == 0 or not _is_death(error):
                return _failure(error)
            restarts -= 1


def _trainer(payload: DriverPayload, reporter: UserCallback) -> GroupTrainer:
    resources = payload.resources
    return GroupTrainer(
        train_on_worker,
        train_loop_config={"payload": payload.model_dump_json()},
        scaling_config=scaling_config(resources),
        run_config=RunConfig(
            name=payload.run,
            storage_path=payload.storage,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),  # see `train`
            # Typed for user callbacks; internal ones are let in for workarounds such as ours.
            callbacks=[reporter, Notice(), LeaveDraining(), GiveUpOversized(resources)],  # pyright: ignore[reportArgumentType]
        ),
    )


def train_on_worker(config: dict[str, str]) -> None:
    """What runs on each worker; imports torch there and only there."""
    from trainers import stop

    try:
        _train_on_worker(DriverPayload.model_validate_json(config["payload"]))
    finally:
        stop.has_ended.set()


def _train_on_worker(payload: DriverPayload) -> None:
    from search.checking import check_of
    from trainers import stop
    from trainers.worker import WorkerPayload, train_worker

    resources = payload.resources
    train_worker(
        WorkerPayload(
            trial=payload.trial,
            checkpoint=payload.checkpoint,
            checkpoints=payload.checkpoints,
            clean_starts=payload.clean_starts,
            manifests=payload.manifests,
            clean_recipe=payload.clean_recipe,
            rungs=payload.rungs,
            workers=resources.workers,
            threads=resources.cpus_per_worker,
            device=resources.device,
        ),
        check_of(payload),
        must_stop=stop.must_stop.is_set,
    )


def _is_death(error: Exception) -> bool:
    """Whether a process died (killed, node lost, out of memory), or was told to end and saved,
    rather than training raised.

    When one of several workers dies, the others raise because their peer is gone.
    """
    if not isinstance(error, WorkerGroupError):
        return isinstance(error, RayActorError)
    failures = error.worker_failures.values()
    ended = (WorkerHealthCheckFailedError, StoppedError)
    has_death = any(isinstance(failure, ended) or _lost_a_peer(failure) for failure in failures)
    return has_death and not any(_would_come_again(failure) for failure in failures)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ControllerError):
        cause = error.controller_failure
        by = "" if isinstance(cause, OversizedError) else "controller: "
        return Failure(reason=f"{by}{_first_line(cause)}", error=str(error))
    if not isinstance(error, WorkerGroupError):
        return Failure(reason=_first_line(error), error=str(error))
    rank, cause = min(error.worker_failures.items(), key=lambda item: (_rank(item[1]), item[0]))
    if isinstance(cause, WorkerHealthCheckFailedError):
        died = _first_line(cause.health_check_failure)
        return Failure(reason=f"worker {rank} died: {died}", error=str(error))
    return Failure(reason=f"{type(cause).__name__}: {_first_line(cause)}", error=str(error))


def _rank(failure: Exception) -> int:
    """Orders the failures of several workers: the others lose their peer in consequence."""
    if _would_come_again(failure):
        return 0
    return 1 if isinstance(failure, (WorkerHealthCheckFailedError, StoppedError)) else 2


def _lost_a_peer(failure: Exception) -> bool:
    """Whether a collective failed, which a worker notices before Ray knows of the other's death."""
    # torch's own classes by their names; gloo raises a plain RuntimeError.
    is_nccl = type(failure).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError")
    return is_nccl or (isinstance(failure, RuntimeError) and "/gloo/" in str(failure))


def _would_come_again(failure: Exception) -> bool:
    # torch's own class by its name: this process does without torch.
    is_out_of_memory = type(failure).__name__ == "OutOfMemoryError"
    return is_out_of_memory or isinstance(failure, (FloatingPointError, MemoryError))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
