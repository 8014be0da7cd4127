"""Adversarial training of one trial on one rank: attack, step, average, and yield every epoch.

Whoever iterates reports, saves and stops. Every stream of random numbers begins anew with each
epoch, from (seed, epoch, rank), so a run that is resumed after an epoch goes on bit by bit.
"""

import math
import random
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from models.freeze import train_mode
from trainers.augment import augment
from trainers.checkpoint import CleanStart, TrainState
from trainers.config import TrialConfig, local_batch
from trainers.data.images import Batch
from trainers.data.load import Images
from trainers.losses import soft_targets
from trainers.metrics import Check, EpochMetrics
from trainers.schedules import lr_at, resolution_at, share_at, steps_at
from trainers.session import Session, begin_session, state_of
from trainers.step import train_step

STEPS_PER_CHECK = 20
"""On an accelerator the loss is looked at this often, because each look waits for the device."""


def fit(
    config: TrialConfig,
    *,
    images: Images,
    rungs: Collection[int],
    evaluate: Callable[[nn.Module], Check] | None,
    rank: int,
    world_size: int,
    device: torch.device,
    resume: TrainState | None,
    start: CleanStart | None,
) -> Iterator[TrainState]:
    """Trains from the start or from `resume`, and yields the state after each epoch.

    Args:
        images: The train split; what does not fill a batch is left out, another part each epoch.
        rungs: Epochs, counted from 1, after which `evaluate` runs; the last epoch always does.
        evaluate: Gets the scored weights in eval mode, on rank 0 only: elsewhere `check` is None.
            Without it nothing is checked.
        world_size: Ranks that share each batch; above 1 the default process group must exist.
        resume: A state of the same config.
        start: The clean training to begin from, where the config asks for one; not read with
            `resume`.

    Raises:
        ValueError: If the batch cannot be shared among the ranks or the images do not fill it.
        FloatingPointError: While iterating, if the loss is not finite.
    """
    local_batch(config, world_size)
    if len(images) < config.batch_size:
        raise ValueError(f"{len(images)} images do not fill a batch of {config.batch_size}")
    session = begin_session(
        config,
        images,
        rank=rank,
        world_size=world_size,
        device=device,
        resume=resume,
        start=start,
    )
    return _epochs(session, rungs, evaluate)


@dataclass(kw_only=True)
class _Tally:
    """Losses and hits of one epoch, left on the device."""

    losses: list[Tensor] = field(default_factory=list[Tensor])
    hits: list[Tensor] = field(default_factory=list[Tensor])
    """Images of each step that the model got right."""
    checked: int = 0

    def require_finite(self, epoch: int) -> None:
        """Raises FloatingPointError with the epoch, from 1, and the step, from 0, if need be."""
        unseen = self.losses[self.checked :]
        values = torch.stack(unseen).tolist() if unseen else []
        for step, loss in enumerate(values, self.checked):
            if not math.isfinite(loss):
                raise FloatingPointError(f"loss is {loss} at {epoch=}, {step=}")
        self.checked = len(self.losses)


def _epochs(
    session: Session, rungs: Collection[int], evaluate: Callable[[nn.Module], Check] | None
) -> Iterator[TrainState]:
    is_first = True
    while session.epoch < session.config.epochs:
        metrics, first_step_at = _train_epoch(session)
        session.epoch += 1
        is_rung = session.epoch in {*rungs, session.config.epochs}
        if evaluate is not None and session.rank == 0 and is_rung:
            metrics = metrics.model_copy(update=_checks(session, evaluate))
        update: dict[str, object] = {"history": (*session.progress.history, metrics)}
        if is_first:
            update["first_step_at"] = first_step_at
        session.progress = session.progress.model_copy(update=update)
        is_first = False
        yield state_of(session)


def _checks(session: Session, evaluate: Callable[[nn.Module], Check]) -> dict[str, object]:
    raw = evaluate(session.model.eval())
    if session.ema is None:
        return {"check": raw}
    return {"check": evaluate(session.ema.averaged), "raw_check": raw}


def _train_epoch(session: Session) -> tuple[EpochMetrics, float]:
    """Runs one epoch; returns its metrics without a check, and when its first step ended."""
    config, epoch, started = session.config, session.epoch + 1, time.perf_counter()
    augment_stream, attack_stream = _seed_streams(session)
    train_mode(session.model)
    tally, first_step_at, lr, radius = _Tally(), 0.0, 0.0, 0.0
    batches = plan_epoch(
        config,
        images=len(session.images),
        epoch=session.epoch,
        rank=session.rank,
        world_size=session.world_size,
    )
    stream = session.images.stream(batches, epoch=session.epoch)
    for step, (batch, (pixels, labels)) in enumerate(zip(batches, stream, strict=True)):
        progress = (session.epoch + step / session.steps_per_epoch) / config.epochs
        x, targets = _prepare(session, pixels, labels, batch.side, augment_stream)
        lr = lr_at(progress, config.optim, batch_size=config.batch_size)
        radius = share_at(progress, config.eps_schedule)
        loss, hits = train_step(
            session,
            x,
            targets,
            lr=lr,
            radius=radius,
            steps=steps_at(progress, config.steps_schedule, steps=config.attack.steps),
            turn=session.epoch * session.steps_per_epoch + step,
            generator=attack_stream,
        )
        tally.losses.append(loss)
        tally.hits.append(hits)
        if session.device.type == "cpu" or step % STEPS_PER_CHECK == 0:
            tally.require_finite(epoch)
        if step == 0:
            first_step_at = time.time()
    tally.require_finite(epoch)
    loss, accuracy = _means(session, tally)
    metrics = EpochMetrics(
        epoch=epoch,
        train_loss=loss,
        train_accuracy=accuracy,
        lr=lr,
        eps=radius * config.threat.eps,
        seconds=time.perf_counter() - started,
        check=None,
        raw_check=None,
    )
    return metrics, first_step_at


def _seed_streams(session: Session) -> tuple[torch.Generator, torch.Generator]:
    """Seeds all that draws numbers in this epoch; returns the streams of augmentation and attack.

    Drop-path and whatever a library draws by itself use the global streams.
    """
    words = np.random.SeedSequence(
        (session.config.seed, session.epoch, session.rank), spawn_key=(1,)
    ).generate_state(3, np.uint32)
    of_all, of_augment, of_attack = (int(word) for word in words)
    torch.manual_seed(of_all)
    random.seed(of_all)
    np.random.seed(of_all)
    attack_stream = torch.Generator(session.device).manual_seed(of_attack)
    return torch.Generator().manual_seed(of_augment), attack_stream


def plan_epoch(
    config: TrialConfig, *, images: int, epoch: int, rank: int, world_size: int
) -> list[Batch]:
    """Returns one rank's share of each batch, in an order that only (seed, epoch) decides.

    Each image comes once, on one rank, but for those that do not fill a batch: they sit this epoch
    out.

    Args:
        images: Of the train split.
        epoch: From 0.
    """
    word = np.random.SeedSequence((config.seed, epoch), spawn_key=(0,)).generate_state(1)
    order = torch.randperm(images, generator=torch.Generator().manual_seed(int(word[0])))
    local, steps = local_batch(config, world_size), images // config.batch_size
    batches: list[Batch] = []
    for step in range(steps):
        first = step * config.batch_size + rank * local
        side = resolution_at(
            (epoch + step / steps) / config.epochs,
            config.resolution_schedule,
            resolution=config.data.resolution,
        )
        batches.append(Batch(index=order[first : first + local], side=side))
    return batches


def _prepare(
    session: Session, pixels: Tensor, labels: Tensor, side: int, stream: torch.Generator
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch classes"]]:
    """Brings a batch to the device as it is stored, and augments it there."""
    config = session.config
    targets = soft_targets(
        labels,
        num_classes=config.data.num_classes,
        smoothing=config.label_smoothing,
    )
    augmentation = config.augment
    if session.images.crops_itself:
        augmentation = augmentation.model_copy(update={"crop_scale": 1.0})
    x = pixels.to(session.device, non_blocking=True).to(torch.float32) / 255
    return augment(x, targets.to(session.device), augmentation, side=side, generator=stream)


def _means(session: Session, tally: _Tally) -> tuple[float, float]:
    """Returns loss and accuracy over all ranks."""
    sums = torch.stack([torch.stack(tally.losses).sum(), torch.stack(tally.hits).sum()])
    if session.world_size > 1:
        dist.all_reduce(sums)
    steps = len(tally.losses)
    loss_sum, hits = sums.tolist()
    images = steps * session.config.batch_size
    return loss_sum / (steps * session.world_size), hits / images
