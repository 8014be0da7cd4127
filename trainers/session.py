"""What lives as long as one process trains: model, optimiser, average, and how far they got."""

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
from trainers.config import TrialConfig, shares
from trainers.data.load import Images
from trainers.group import Group
from trainers.metrics import Progress
from trainers.optim import build_optimizer
from trainers.plan import steps_per_epoch
from trainers.schedules import resolution_at
from trainers.start import load_start
from trainers.tally import Tally, empty_tally


@dataclass(kw_only=True)
class Session:
    """All that lives as long as this process trains."""

    config: TrialConfig
    images: Images
    group: Group
    parts: int
    """That this rank's share of a batch is worked off in."""
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
    tally: Tally
    """Of the epoch that runs."""
    lr_factor: float
    """On the learning rate, after a roll-back."""

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.config, len(self.images))


def begin_session(
    config: TrialConfig,
    images: Images,
    *,
    group: Group,
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
    data, compute, device = config.data, config.compute, group.device
    size = forward_cost(config.model, num_classes=data.num_classes, resolution=data.resolution)
    torch.manual_seed(config.seed)  # the same weights on every rank
    model = build_model(config.model, num_classes=data.num_classes, resolution=data.resolution)
    clean = start.model if start else None
    origin = load_start(model, config, clean) if resume is None else resume.progress.start
    freeze(model, which=config.freeze)
    model = synchronized(model, compute, group=group)
    model = place(model, compute, device=device)
    network = in_precision(model, compute)
    with compiling(compute.compile):
        pass  # refuses here, before the first step, where torch cannot
    if compute.checkpointing:
        set_checkpointing(model, True)  # refuses here, before the first step
        set_checkpointing(model, False)  # only the training pass recomputes
    total_steps = config.epochs * steps_per_epoch(config, len(images))
    parts = parts_of(config, group)
    in_parts = compute.model_copy(update={"accumulation": parts})
    session = Session(
        config=config,
        images=images,
        group=group,
        parts=parts,
        model=model,
        adversary=Adversary(network, config.model_copy(update={"compute": in_parts})),
        trained=network,
        parameters=[p for p in model.parameters() if p.requires_grad],
        ema=_build_ema(model, config.ema_horizon * total_steps),
        optimizer=build_optimizer(model, config.optim),
        progress=Progress(
            params_m=size.params_m,
            gmacs=size.gmacs,
            start=origin,
            images=images.hash,
            clean_seconds=start.seconds if start else 0.0,
            first_step_at=0.0,
            events=(),
            history=(),
        ),
        epoch=0,
        tally=empty_tally(),
        lr_factor=1.0,
    )
    if resume is not None:
        _restore(session, resume)
    session.trained = for_training(network, compute, group=group, parts=parts)
    return session


def parts_of(config: TrialConfig, group: Group) -> int:
    """Returns the parts that each rank works its share of a batch off in.

    So many more where ranks are missing, but no more than the least share has images.
    """
    planned = -(-config.compute.accumulation * group.planned // group.size)
    return min(planned, *shares(config, group.size))


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
    """Returns the present state, with the live tensors."""
    return TrainState(
        config=session.config,
        epoch=session.epoch,
        losses=session.tally.losses,
        hits=session.tally.hits,
        seconds=session.tally.seconds,
        lr_factor=session.lr_factor,
        workers=session.group.size,
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
    events, size = state.progress.events, session.group.size
    if state.workers != size:
        where = f"epoch {state.epoch + 1}, step {len(state.losses)}"
        events = (*events, f"{size} worker(s) instead of {state.workers} from {where}")
    session.progress = state.progress.model_copy(update={"events": events})
    session.epoch = state.epoch
    session.tally = Tally(losses=state.losses, hits=state.hits, seconds=state.seconds)
    session.lr_factor = state.lr_factor
