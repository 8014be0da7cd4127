"""Where a run can be followed: TensorBoard, Weights & Biases, MLflow. Light: no torch.

Each opener connects to its target for one session, and gives a function that is told the whole
history again and again and writes what is new. W&B and MLflow cannot take a point back: an epoch
that is repeated after a resume keeps there the numbers it had first. They are imported only where
they are named, and obey their own environment variables.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from search.live.event_file import Event, event_file
from search.overrides import paths, value_at
from trainers.atomic import write_atomically
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics

LogTarget = Literal["tensorboard", "wandb", "mlflow"]

PROJECT = "rampart"
"""The project of W&B and the experiment of MLflow that runs are filed under."""
RUN_TAG = "rampart.run"
"""The tag by which a run is found again in MLflow."""

Tell = Callable[[Sequence[EpochMetrics]], None]
"""Takes the whole history of a run."""

logger = logging.getLogger(__name__)


def require_installed(targets: Sequence[LogTarget]) -> None:
    """Looks for what is optional, without importing it.

    Raises:
        ValueError: If one of `targets` is not installed.
    """
    for target in targets:
        spec = None if target == "tensorboard" else find_spec(target)
        # A folder named wandb, as W&B leaves it where it is started, is a package without origin.
        if target != "tensorboard" and (spec is None or spec.origin is None):
            raise ValueError(
                f"log_to names {target}, which is not installed: pip install {target}, "
                "or leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a target knows of a run beside its history."""

    name: str
    config: TrialConfig
    folder: Path
    """The run's own, absolute."""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The config by dotted paths; lists are JSON text."""
        tree = self.config.model_dump(mode="json")
        values = {path: value_at(self.config, path) for path in paths(tree)}
        return {
            path: json.dumps(value) if isinstance(value, list) else value
            for path, value in values.items()
            if not isinstance(value, dict)
        }

    def read_id(self) -> str:
        """Returns what names the run in a service, made up once and kept in the folder.

        The folder's path would not do: another machine may have it too, and a run that begins
        anew in an emptied folder is another run.
        """
        path = self.folder / "log_id"
        if not path.exists():
            write_atomically(path, uuid.uuid4().hex)
        return path.read_text()


def numbers(metrics: EpochMetrics) -> dict[str, float]:
    """Returns the numbers of an epoch; the name of an accuracy says its attack and its n."""
    named = metrics.model_dump(exclude={"epoch", "check", "raw_check"})
    for prefix, check in (("", metrics.check), ("raw_", metrics.raw_check)):
        if check is None:
            continue
        accuracies = [("clean", check.clean), ("robust", check.robust)]
        if check.probe is not None:
            accuracies += [("robust", check.probe.pgd1), ("robust", check.probe.pgd10)]
            sizes = check.probe.model_dump(exclude={"pgd1", "pgd10"})
            named |= {f"{prefix}{name}": value for name, value in sizes.items()}
        for kind, accuracy in accuracies:
            name = f"{prefix}{kind}_accuracy/{accuracy.attack}/n{accuracy.n}"
            named[name] = accuracy.value
        named[f"{prefix}check_seconds"] = check.seconds
    return named


@contextmanager
def _open_tensorboard(run: LoggedRun) -> Generator[Tell]:
    """Writes the folder `tensorboard`, whose newest event file holds each epoch once.

    A session begins one, and so does a history that does not continue what was told. Time on its
    axis is that of training and checks, without the pauses between sessions.
    """
    told: Sequence[EpochMetrics] = ()
    began = 0.0
    with ExitStack() as file:
        append: Callable[[Iterable[Event]], None] | None = None

        def tell(history: Sequence[EpochMetrics]) -> None:
            nonlocal told, began, append
            ends = list(accumulate(map(_seconds, history), initial=0.0))
            if append is None or history[: len(told)] != told:
                file.close()
                append = file.enter_context(
                    event_file(run.folder / "tensorboard", run.hyperparameters)
                )
                told, began = (), time.time() - ends[-1]
            epochs = list(zip(history, ends[1:], strict=True))[len(told) :]
            append((metrics.epoch, began + end, numbers(metrics)) for metrics, end in epochs)
            told = history

        yield tell


@contextmanager
def _open_wandb(run: LoggedRun) -> Generator[Tell]:
    """Goes on with the run of W&B that bears the run's id.

    Offline, W&B knows no earlier session, so each one's folder holds the whole history.

    Raises:
        ValueError: If W&B refuses.
    """
    wandb = import_module("wandb")
    try:
        service = wandb.init(
            project=PROJECT,
            id=run.read_id(),
            name=run.name,
            resume="allow",
            dir=run.folder,
            config=run.config.model_dump(mode="json"),
            settings=wandb.Settings(console="off"),  # or it files what a progress bar draws
        )
    except wandb.Error as error:
        raise ValueError(
            f"log_to names wandb, which refuses: {error}; WANDB_MODE=offline needs no server"
        ) from error

    def tell(history: Sequence[EpochMetrics]) -> None:
        first = service.step
        for metrics in history:
            if metrics.epoch >= first:
                service.log(numbers(metrics), step=metrics.epoch, commit=True)

    with service:
        yield tell


@contextmanager
def _open_mlflow(run: LoggedRun) -> Generator[Tell]:
    """Goes on with the run of MLflow that is tagged with the run's id.

    Where MLflow is out of reach for a while, training goes on: the next report tells what is
    missing there.

    Raises:
        ValueError: If MLflow refuses at the start.
    """
    mlflow = import_module("mlflow")
    try:
        client = mlflow.MlflowClient()
        key = _open_mlflow_run(mlflow, client, run)
    except mlflow.MlflowException as error:
        raise ValueError(
            f"log_to names mlflow, which refuses: {error}; MLFLOW_TRACKING_URI says where it is"
        ) from error

    @contextmanager
    def outage_is_survived() -> Generator[None]:
        try:
            yield
        except mlflow.MlflowException as error:
            logger.warning("mlflow_refused run=%s error=%s", run.name, error)

    def tell(history: Sequence[EpochMetrics]) -> None:
        with outage_is_survived():
            past = client.get_metric_history(key, "train_loss")
            last = max((metric.step for metric in past), default=0)
            for metrics in history:
                if metrics.epoch > last:
                    client.log_batch(key, metrics=_mlflow_metrics(mlflow, metrics))

    status = "FAILED"
    try:
        yield tell
        status = "FINISHED"
    finally:
        with outage_is_survived():
            client.set_terminated(key, status)


def _open_mlflow_run(mlflow: ModuleType, client: Any, run: LoggedRun) -> str:
    """Returns MLflow's own id of the run, which it finds again or creates."""
    experiment = client.get_experiment_by_name(PROJECT)
    place = experiment.experiment_id if experiment else client.create_experiment(PROJECT)
    tags = {RUN_TAG: run.read_id()}
    found = client.search_runs([place], filter_string=f"tags.`{RUN_TAG}` = '{tags[RUN_TAG]}'")
    key = (
        found[0] if found else client.create_run(place, run_name=run.name, tags=tags)
    ).info.run_id
    client.update_run(key, status="RUNNING")
    params = [mlflow.entities.Param(k, str(v)) for k, v in run.hyperparameters.items()]
    for at in range(0, len(params), 100):  # as many as it takes at once
        client.log_batch(key, params=params[at : at + 100])
    return key


def _mlflow_metrics(mlflow: ModuleType, metrics: EpochMetrics) -> list[Any]:
    now = round(time.time() * 1000)
    # MLflow's names have no plus.
    named = {name.replace("+", "-"): value for name, value in numbers(metrics).items()}
    return [mlflow.entities.Metric(k, value, now, metrics.epoch) for k, value in named.items()]


def _seconds(metrics: EpochMetrics) -> float:
    return metrics.seconds + metrics.check_seconds


OPENERS: dict[LogTarget, Callable[[LoggedRun], AbstractContextManager[Tell]]] = {
    "tensorboard": _open_tensorboard,
    "wandb": _open_wandb,
    "mlflow": _open_mlflow,
}
"""Connects to a target for one session of a run."""
