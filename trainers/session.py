"""What lives as long as one process trains: model, optimiser, average, and how far they got."""

import time
from dataclasses import dataclass

import torch
from torch import nn

from models.cost import TIMM_REFUSALS, forward_cost
from models.ema import Ema
from models.freeze import freeze
from models.registry import build_model
from trainers.adversary import Adversary
from trainers.checkpoint import CleanStart, TrainState
from trainers.compute import (
    compiling,
    for_training,
    in_precision,
    place,
    set_checkpointing,
    synchronized,
)
from trainers.config import TrialConfig
from trainers.data.load import Images
from trainers.metrics import Progress
from trainers.optim import build_optimizer
from trainers.schedules import resolution_at
from trainers.start import load_start


@dataclass(kw_only=True)
class Session:
    """All that lives as long as this process trains."""

    config: TrialConfig
    images: Images
    rank: int
    world_size: int
    device: torch.device
    model: nn.Module
    adversary: Adversary
    trained: nn.Module
    """`model` as the training pass runs it: in its precision, compiled, gradients shared."""
    parameters: list[nn.Parameter]
    """Those of `model` that are trained, listed once."""
    ema: Ema | None
    optimizer: torch.optim.Optimizer
    progress: Progress
    epoch: int
    """Epochs finished."""

    @property
    def steps_per_epoch(self) -> int:
        return len(self.images) // self.config.batch_size


def begin_session(
    config: TrialConfig,
    images: Images,
    *,
    rank: int,
    world_size: int,
    device: torch.device,
    resume: TrainState | None,
    start: CleanStart | None,
) -> Session:
    """Builds everything from the config, and takes back `resume` where there is one.

    Args:
        start: A clean training to begin from; `config.weights` names all other weights.

    Raises:
        ValueError: If the model cannot be built, cannot compute as `config.compute` says, or cannot
            take the weights it is to start from.
    """
    data, compute = config.data, config.compute
    size = forward_cost(config.model, num_classes=data.num_classes, resolution=data.resolution)
    torch.manual_seed(config.seed)  # the same weights on every rank
    model = build_model(config.model, num_classes=data.num_classes, resolution=data.resolution)
    clean = start.model if start else None
    origin = load_start(model, config, clean) if resume is None else resume.progress.start
    freeze(model, which=config.freeze)
    model = synchronized(model, compute, world_size=world_size, device=device)
    model = place(model, compute, device=device)
    network = in_precision(model, compute)
    with compiling(compute.compile):
        pass  # refuses here, before the first step, where torch cannot
    if compute.checkpointing:
        set_checkpointing(model, True)  # refuses here, before the first step
        set_checkpointing(model, False)  # only the training pass recomputes
    total_steps = config.epochs * (len(images) // config.batch_size)
    session = Session(
        config=config,
        images=images,
        rank=rank,
        world_size=world_size,
        device=device,
        model=model,
        adversary=Adversary(network, config),
        trained=network,
        parameters=[p for p in model.parameters() if p.requires_grad],
        ema=_build_ema(model, config.ema_horizon * total_steps),
        optimizer=build_optimizer(model, config.optim),
        progress=Progress(
            params_m=size.params_m,
            gmacs=size.gmacs,
            start=origin,
            clean_seconds=start.seconds if start else 0.0,
            first_step_at=time.time(),
            history=(),
        ),
        epoch=0,
    )
    if resume is not None:
        _restore(session, resume)
    session.trained = for_training(network, compute, world_size=world_size)
    return session


def require_buildable(config: TrialConfig) -> None:
    """Builds the model without weights, and tries what training will ask of it.

    Raises:
        ValueError: If it cannot be built, cannot take an image of a side that the resolution
            schedule passes through, or cannot compute as `config.compute` says.
    """
    data = config.data
    forward_cost(config.model, num_classes=data.num_classes, resolution=data.resolution)
    with torch.device("meta"):
        model = build_model(config.model, num_classes=data.num_classes, resolution=data.resolution)
    freeze(model, which=config.freeze)
    if config.compute.checkpointing:
        set_checkpointing(model, True)
    percents = range(101)
    sides = {
        resolution_at(percent / 100, config.resolution_schedule, resolution=data.resolution)
        for percent in percents
    }
    for side in sorted(sides - {data.resolution}):
        try:
            model.eval()(torch.empty(1, 3, side, side, device="meta"))
        except TIMM_REFUSALS as error:
            reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
            raise ValueError(
                f"resolution_schedule passes through {side} pixels, which the model cannot take: "
                f"{reason}; set its start to 1, or take another model"
            ) from error


def state_of(session: Session) -> TrainState:
    """Returns the state after the latest epoch, with the live tensors."""
    return TrainState(
        config=session.config,
        epoch=session.epoch,
        progress=session.progress,
        model=session.model.state_dict(),
        ema=None if session.ema is None else session.ema.state_dict(),
        optimizer=session.optimizer.state_dict(),
    )


def _build_ema(model: nn.Module, horizon_steps: float) -> Ema | None:
    if not horizon_steps:
        return None
    return Ema(model, decay=max(0.0, 1 - 1 / horizon_steps))


def _restore(session: Session, state: TrainState) -> None:
    session.model.load_state_dict(state.model)
    session.optimizer.load_state_dict(dict(state.optimizer))
    if session.ema is not None and state.ema is not None:
        session.ema.load_state_dict(state.ema)
    session.progress, session.epoch = state.progress, state.epoch
