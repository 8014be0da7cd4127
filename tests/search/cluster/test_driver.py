"""What a driver says of a failed worker group, without starting one."""

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from search.cluster.capacity import OversizedError
from search.cluster.driver import _failure, _is_death  # pyright: ignore[reportPrivateUsage]
from trainers.stop import StoppedError


def death(cause: Exception) -> WorkerHealthCheckFailedError:
    return WorkerHealthCheckFailedError("no answer", failure=cause)


@pytest.mark.parametrize(
    ("error", "is_death", "reason"),
    [
        (
            WorkerGroupError("text", {0: FloatingPointError("loss is nan at epoch=1, step=2")}),
            False,
            "FloatingPointError: loss is nan at epoch=1, step=2",
        ),
        (
            WorkerGroupError("text", {0: MemoryError("CUDA out of memory\nmore")}),
            False,
            "MemoryError: CUDA out of memory",
        ),
        (
            WorkerGroupError("text", {1: death(OutOfMemoryError("node is out of memory"))}),
            True,
            "worker 1 died: node is out of memory",
        ),
        # The surviving rank raises because its peer is gone: that is a death, too.
        (
            WorkerGroupError("text", {0: RuntimeError("peer"), 1: death(RayActorError())}),
            True,
            "worker 1 died: The actor experienced an error before finishing this task.",
        ),
        (
            WorkerGroupError("text", {0: RuntimeError("[/a/gloo/pair.cc:545] reset by peer")}),
            True,
            "RuntimeError: [/a/gloo/pair.cc:545] reset by peer",
        ),
        (
            WorkerGroupError("text", {1: StoppedError("asked to stop, and saved")}),
            True,
            "StoppedError: asked to stop, and saved",
        ),
        (ControllerError(RuntimeError("lost")), False, "controller: lost"),
        # Not a fault of the controller, and no restart makes the cluster larger.
        (ControllerError(OversizedError("resources ask for")), False, "resources ask for"),
    ],
)
def test_a_death_is_told_from_an_error_of_training(
    error: TrainingFailedError, is_death: bool, reason: str
) -> None:
    assert _is_death(error) is is_death
    assert _failure(error).reason == reason
    assert _failure(error).error == str(error)
