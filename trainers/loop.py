"""Adversarial training of one trial on one rank: attack, step, average, and yield the state.

Whoever iterates reports, saves and ends. Every stream of random numbers begins anew with each step,
from (seed, step, rank), so a run that is resumed after any step goes on bit by bit.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.freeze import train_mode
from trainers.augment import augment
from trainers.checkpoint import CleanStart, TrainState
from trainers.config import TrialConfig, shares
from trainers.data.images import Batch
from trainers.data.load import Images
from trainers.group import Group
from trainers.losses import soft_targets
from trainers.metrics import Check, EpochMetrics
from trainers.plan import plan_epoch, steps_per_epoch
from trainers.schedules import lr_at, share_at, steps_at
from trainers.session import Session, begin_session, state_of
from trainers.step import train_step
from trainers.stop import Request
from trainers.tally import empty_tally

STEPS_PER_LOOK = 10
"""On an accelerator the loss and the wish to end are looked at this often, because each look waits
for the device."""
_NOT_FINITE = 3
"""Above every `Request`: no state is yielded."""
Evaluate = Callable[[nn.Module, int | None], Check]
"""Checks a model in eval mode. The epoch, counted from 1, says which decision hangs on the check;
None: none does."""


def fit(
    config: TrialConfig,
    *,
    images: Images,
    rungs: Collection[int],
    evaluate: Evaluate | None,
    group: Group,
    resume: TrainState | None,
    start: CleanStart | None,
    ask: Callable[[], Request] = lambda: Request.NOTHING,
) -> Iterator[TrainState]:
    """Trains from the start or from `resume`; yields the state after each epoch and when asked to.

    Args:
        images: The train split; what does not fill a batch is left out, another part each epoch.
        rungs: Epochs, counted from 1, after which `evaluate` runs; the last epoch always does.
        evaluate: Gets the scored weights, on rank 0 only: elsewhere `check` is None. Without it
            nothing is checked.
        resume: A state of the same config and images.
        start: The clean training to begin from, where the config asks for one; not read with
            `resume`.
        ask: Called on every rank after a step, or after `STEPS_PER_LOOK` on an accelerator. After
            STOP, the state that it yields is the last.

    Raises:
        ValueError: If the batch cannot be shared among the ranks or the images do not fill it.
        FloatingPointError: While iterating, if the loss is not finite on any rank.
    """
    shares(config, group.size)
    if not steps_per_epoch(config, len(images)):
        raise ValueError(f"{len(images)} images do not fill a batch of {config.batch_size}")
    session = begin_session(config, images, group=group, resume=resume, start=start)
    return _epochs(session, rungs, evaluate, ask)


def _epochs(
    session: Session,
    rungs: Collection[int],
    evaluate: Evaluate | None,
    ask: Callable[[], Request],
) -> Iterator[TrainState]:
    while session.epoch < session.config.epochs:
        for request in _train_epoch(session, ask):
            yield state_of(session)
            if request is Request.STOP:
                return
        metrics = _metrics(session)
        session.epoch += 1
        session.tally = empty_tally()
        is_rung = session.epoch in {*rungs, session.config.epochs}
        if evaluate is not None and session.group.rank == 0 and is_rung:
            metrics = metrics.model_copy(update=_checks(session, evaluate))
        _note(session, history=(*session.progress.history, metrics))
        yield state_of(session)


def _checks(session: Session, evaluate: Evaluate) -> dict[str, object]:
    raw = session.model.eval()
    if session.ema is None:
        return {"check": evaluate(raw, session.epoch)}
    check = evaluate(session.ema.averaged, session.epoch)
    # The two are compared on the same images, which a check that ended early has not seen.
    return {"check": check, "raw_check": evaluate(raw, None) if check.missed is None else None}


def _note(session: Session, **update: object) -> None:
    session.progress = session.progress.model_copy(update=update)


def _train_epoch(session: Session, ask: Callable[[], Request]) -> Iterator[Request]:
    """Runs what is left of an epoch; yields what was asked whenever the state is whole."""
    before, started, group = session.tally.seconds, time.perf_counter(), session.group
    train_mode(session.model)
    first = len(session.tally.losses)
    batches = plan_epoch(
        session.config,
        images=len(session.images),
        extra=session.images.extra,
        epoch=session.epoch,
        rank=group.rank,
        workers=group.size,
    )[first:]
    stream = session.images.stream(batches, epoch=session.epoch)
    for step, (batch, (pixels, labels)) in enumerate(zip(batches, stream, strict=True), first):
        _take_step(session, step, batch, pixels, labels)
        session.tally.seconds = before + time.perf_counter() - started
        if not session.progress.first_step_at:
            _note(session, first_step_at=time.time())
        is_last = step == session.steps_per_epoch - 1
        if is_last or group.device.type == "cpu" or step % STEPS_PER_LOOK == 0:
            request = _look(session, ask(), is_end=is_last)
            if request is not Request.NOTHING:
                pause = time.perf_counter()
                yield request
                started += time.perf_counter() - pause


def _take_step(session: Session, step: int, batch: Batch, pixels: Tensor, labels: Tensor) -> None:
    config, turn = session.config, session.epoch * session.steps_per_epoch + step
    augment_stream, attack_stream = _seed_streams(session, turn)
    progress = _progress(session, step)
    x, targets = _prepare(session, pixels, labels, batch.side, augment_stream)
    loss, hits = train_step(
        session,
        x,
        targets,
        lr=_lr(session, progress),
        radius=share_at(progress, config.eps_schedule),
        steps=steps_at(progress, config.steps_schedule, steps=config.attack.steps),
        turn=turn,
        generator=attack_stream,
    )
    session.tally.add(loss * (len(x) / config.batch_size), hits)


def _look(session: Session, asked: Request, *, is_end: bool) -> Request:
    """Gathers what the ranks counted, and returns the most that one of them asks.

    Raises:
        FloatingPointError: If a loss is not finite, with the epoch, from 1, and the step, from 0;
            before a state is yielded also if a weight is not.
    """
    epoch, bad = session.epoch + 1, session.tally.first_bad_step()
    highest = session.group.highest(asked if bad is None else _NOT_FINITE + bad[0])
    if bad is not None:
        step, loss = bad
        raise FloatingPointError(f"loss is {loss} at {epoch=}, {step=}")
    if highest >= _NOT_FINITE:
        step = highest - _NOT_FINITE
        raise FloatingPointError(f"loss of another worker is not finite at {epoch=}, {step=}")
    session.tally.gather(session.group)
    if (highest or is_end) and not _has_finite_weights(session):
        step = len(session.tally.losses) - 1
        raise FloatingPointError(f"weights are not finite after {epoch=}, {step=}")
    return Request(highest)


def _has_finite_weights(session: Session) -> bool:
    """Tells it of the weights that all ranks share."""
    return bool(torch.stack([p.detach().sum() for p in session.parameters]).isfinite().all())


def _metrics(session: Session) -> EpochMetrics:
    """Returns those of the epoch whose last step was taken, without a check."""
    config, tally = session.config, session.tally
    progress = _progress(session, len(tally.losses) - 1)
    return EpochMetrics(
        epoch=session.epoch + 1,
        train_loss=tally.losses.mean().item(),
        train_accuracy=tally.hits.sum().item() / (len(tally.hits) * config.batch_size),
        lr=_lr(session, progress),
        eps=share_at(progress, config.eps_schedule) * config.threat.eps,
        seconds=tally.seconds,
        check=None,
        raw_check=None,
    )


def _progress(session: Session, step: int) -> float:
    """Returns the share of training before a step of the running epoch."""
    return (session.epoch + step / session.steps_per_epoch) / session.config.epochs


def _lr(session: Session, progress: float) -> float:
    config = session.config
    return session.lr_factor * lr_at(progress, config.optim, batch_size=config.batch_size)


def _seed_streams(session: Session, turn: int) -> tuple[torch.Generator, torch.Generator]:
    """Seeds all that draws numbers in a step; returns the streams of augmentation and attack.

    Drop-path and whatever a library draws by itself use the global streams.
    """
    words = np.random.SeedSequence(
        (session.config.seed, turn, session.group.rank), spawn_key=(1,)
    ).generate_state(3, np.uint32)
    of_all, of_augment, of_attack = (int(word) for word in words)
    torch.manual_seed(of_all)
    random.seed(of_all)
    np.random.seed(of_all)
    attack_stream = torch.Generator(session.group.device).manual_seed(of_attack)
    return torch.Generator().manual_seed(of_augment), attack_stream


def _prepare(
    session: Session, pixels: Tensor, labels: Tensor, side: int, stream: torch.Generator
) -> tuple[Float[Tensor, "batch 3 h w"], Float[Tensor, "batch classes"]]:
    """Brings a batch to the device as it is stored, and augments it there."""
    config, device = session.config, session.group.device
    targets = soft_targets(
        labels,
        num_classes=config.data.num_classes,
        smoothing=config.label_smoothing,
    )
    augmentation = config.augment
    if session.images.crops_itself:
        augmentation = augmentation.model_copy(update={"crop_scale": 1.0})
    x = pixels.to(device, non_blocking=True).to(torch.float32) / 255
    return augment(x, targets.to(device), augmentation, side=side, generator=stream)
