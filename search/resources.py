"""What runs hold on the cluster. Light: no torch, no Ray."""

from typing import Literal

from pydantic import Field, model_validator

from models.config import Config
from trainers.config import TrialConfig, shares


class WorkersConfig(Config):
    """The workers of one run."""

    workers: int = Field(ge=1)
    """Data-parallel workers of a run."""
    min_workers: int = Field(ge=1)
    """With fewer than `workers`, a run goes on with what the cluster has, down to these, and grows
    again when more is there; it takes what is free, also what another run waits for. Batch, order
    of images and learning rate stay: each worker takes a larger share, in so many more parts that
    its memory does not grow."""
    cpus_per_worker: int = Field(ge=1)
    """Also its number of threads."""
    gpus_per_worker: float = Field(ge=0)
    worker_restarts: int = Field(ge=0)
    """How often a run goes on from its last checkpoint after a worker died (killed, node lost,
    pre-empted). An error that training itself raises is not repeated."""

    @model_validator(mode="after")
    def _fewest_is_no_more_than_all(self) -> "WorkersConfig":
        if self.min_workers > self.workers:
            raise ValueError(
                f"min_workers ({self.min_workers}) must not exceed workers ({self.workers})"
            )
        return self

    @property
    def sizes(self) -> range:
        """Numbers of workers that a run may have."""
        return range(self.min_workers, self.workers + 1)

    @property
    def per_worker(self) -> dict[str, float]:
        """What Ray is asked for."""
        gpus = {"GPU": self.gpus_per_worker} if self.gpus_per_worker else {}
        return {"CPU": float(self.cpus_per_worker), **gpus}

    @property
    def devices(self) -> float:
        """GPUs that all workers hold, or CPU cores where they have no GPU."""
        return self.workers * (self.gpus_per_worker or self.cpus_per_worker)

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """torch's name of what a worker computes on."""
        return "cuda" if self.gpus_per_worker else "cpu"


class ResourcesConfig(WorkersConfig):
    """The workers of each trial, and how many trials run side by side."""

    concurrent_trials: int = Field(ge=1)


def check_workers(trial: TrialConfig, workers: WorkersConfig) -> None:
    """Raises ValueError if a trial cannot be trained by that many workers."""
    for size in workers.sizes:
        shares(trial, size)
    if trial.compute.sync_bn and workers.workers > 1 and not workers.gpus_per_worker:
        raise ValueError(
            "compute.sync_bn needs GPU workers; set it to false, or resources.workers to 1"
        )
