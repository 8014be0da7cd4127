"""Full runs: plain Ray Train, no Tune; each is trained, then attacked by the reference."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import Checkpoint, UserCallback
from ray.train.v2._internal.execution.context import TrainRunContext

from evaluation.config import ReferenceConfig
from models.config import Config
from search.cluster.capacity import Patience
from search.cluster.driver import Failure, train
from search.cluster.reaper import reap
from search.cluster.tuner import DRIVER_RESOURCES
from search.payload import DriverPayload
from trainers.atomic import write_atomically
from trainers.metrics import PROGRESS

POLL_S = 1.0


class FullRunPayload(Config):
    """What the driver of a full run needs."""

    driver: DriverPayload
    reference: ReferenceConfig | None
    """None: the run ends with its training."""
    folder: str
    """The run's own; absolute."""


def run_full(
    payloads: Sequence[FullRunPayload],
    *,
    concurrent: int,
    on_end: Callable[[FullRunPayload, Failure | None], None],
    on_poll: Callable[[], None],
) -> None:
    """Runs all `payloads`, at most `concurrent` at a time: a waiting worker group holds a place."""
    waiting, running = list(payloads), dict[ray.ObjectRef[str], FullRunPayload]()
    while waiting or running:
        while waiting and len(running) < concurrent:
            payload = waiting.pop(0)
            running[_drive.remote(payload.model_dump_json())] = payload
        done, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
        for reference in done:
            on_end(running.pop(reference), _outcome(reference))
        reap()
        on_poll()


def _outcome(reference: ray.ObjectRef[str]) -> Failure | None:
    try:
        text = ray.get(reference)
    except RayError as error:  # the evaluation raised, or a process died once too often
        cause = str(error).strip()
        return Failure(reason=cause.splitlines()[-1], error=cause)
    return Failure.model_validate_json(text) if text else None


@ray.remote(num_cpus=0, resources=DRIVER_RESOURCES, max_retries=2)
def _drive(text: str) -> str:
    """Trains and evaluates one full run; returns its `Failure` as JSON text, or nothing."""
    payload = FullRunPayload.model_validate_json(text)
    folder = Path(payload.folder)
    failure = train(payload.driver, reporter=lambda: ProgressFile(folder))
    if failure is not None:
        return failure.model_dump_json()
    if payload.reference is None:
        return ""
    resources = payload.driver.resources
    options = {"num_cpus": resources.cpus_per_worker, "num_gpus": resources.gpus_per_worker}
    evaluation = _evaluate.options(**options).remote(text)
    patience = Patience(resources.model_copy(update={"workers": 1, "min_workers": 1}))
    while not ray.wait([evaluation], timeout=POLL_S)[0]:
        patience.look()
    ray.get(evaluation)
    return ""


@ray.remote(max_retries=2)
def _evaluate(text: str) -> None:
    """Looks for signs of masking, then runs the reference attack; a killed one goes on after its
    last whole batch."""
    import torch

    from evaluation.evaluate import evaluate_checkpoint
    from evaluation.masking_check import check_masking

    payload = FullRunPayload.model_validate_json(text)
    assert payload.reference is not None
    torch.set_num_threads(payload.driver.resources.cpus_per_worker)
    folder, checkpoint = Path(payload.folder), Path(payload.driver.checkpoint)
    has_gpu = payload.driver.resources.gpus_per_worker
    device = torch.device("cuda", 0) if has_gpu else torch.device("cpu")
    # First: a result that is there means that everything else is.
    check_masking(checkpoint, folder / "masking.json", device=device)
    evaluate_checkpoint(
        checkpoint,
        payload.reference,
        folder,
        device=device,
        on_batch=lambda done, total: write_atomically(folder / "evaluated", f"{done} {total}"),
    )


class ProgressFile(UserCallback):
    """Writes each report of a full run into its folder, for whoever watches."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the run's own."""
        self._folder = folder

    def after_report(
        self,
        run_context: TrainRunContext,
        metrics: list[dict[str, Any]],
        checkpoint: Checkpoint | None,
    ) -> None:
        """Called by Ray Train in the controller."""
        del run_context, checkpoint
        write_atomically(self._folder / "progress.json", metrics[0][PROGRESS])
