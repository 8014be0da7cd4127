"""How fast a trial would train: a few epochs of two steps or ten, on images of noise."""

import time
from collections.abc import Generator
from contextlib import contextmanager

import torch

from trainers.config import ScheduleConfig, TrialConfig, shares
from trainers.data.config import ExtraConfig, StoredConfig
from trainers.data.images import ImageSet
from trainers.group import alone
from trainers.loop import fit

EPOCHS = 5
"""That are timed, after one to warm up."""
STEPS = {"cpu": 2, "cuda": 10}
"""Of such an epoch; after each epoch one waits for the device."""
PATIENCE_S = 20.0
"""After which no further epoch is timed, once there are two."""
_CONSTANT = ScheduleConfig(shape="constant", start=1.0, delay=0.0, ramp=0.0)


def time_steps(
    trial: TrialConfig, *, workers: int, threads: int, device: torch.device
) -> tuple[float, ...]:
    """Returns the seconds per step in each of up to `EPOCHS` epochs of what `fit` does.

    Nothing is read or written: images are noise, weights are random. The schedules of steps and of
    resolution are at their ends. One worker takes its share of the batch; what it would exchange
    with others is left out.

    Raises:
        ValueError: If the model cannot be built, or a step does not fit into memory.
    """
    config = _timed(trial, workers)
    steps = STEPS[device.type]
    seconds: list[float] = []
    began = time.perf_counter()
    try:
        with _threads(threads):
            for state in fit(
                config,
                images=_noise(config, steps=steps),
                rungs=(),
                evaluate=None,
                group=alone(device),
                resume=None,
                start=None,
            ):
                seconds.append(state.progress.history[-1].seconds / steps)
                if len(seconds) > 2 and time.perf_counter() - began > PATIENCE_S:
                    break
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"a step on {config.batch_size} images does not fit into the memory of the {device}; "
            "raise compute.accumulation, or lower batch_size"
        ) from error
    return tuple(seconds[1:])


def _timed(trial: TrialConfig, workers: int) -> TrialConfig:
    """Returns what one worker of `trial` trains, from random weights, without files."""
    data = trial.data
    if isinstance(data, StoredConfig):
        data = data.model_copy(update={"extra": ExtraConfig(source="none", path="", share=0.0)})
    nothing = {"pretrained": False, "init": "", "clean_epochs": 0}
    return trial.model_copy(
        update={
            "data": data,
            "weights": trial.weights.model_copy(update=nothing),
            "steps_schedule": _CONSTANT,
            "resolution_schedule": _CONSTANT,
            # On noise a real learning rate may diverge, which ends a training.
            "optim": trial.optim.model_copy(update={"lr": 1e-9}),
            "compute": trial.compute.model_copy(update={"sync_bn": False}),
            "batch_size": shares(trial, workers)[0],
            "epochs": 1 + EPOCHS,
        }
    )


def _noise(config: TrialConfig, *, steps: int) -> ImageSet:
    """Returns the images of an epoch of so many steps."""
    draw, side, count = torch.Generator().manual_seed(0), config.data.resolution, config.batch_size
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    labels = torch.randint(config.data.num_classes, (count,), generator=draw)
    return ImageSet(images=pixels.repeat(steps, 1, 1, 1), labels=labels.repeat(steps))


@contextmanager
def _threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
