"""One trial from wherever it is to its end: resumed, saved, rolled back, reported. No Ray here."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trainers.atomic import remove_drafts
from trainers.checkpoint import CleanStart, TrainState
from trainers.clean_start import clean_start
from trainers.config import CheckpointsConfig, TrialConfig
from trainers.data.load import Images, changed_images, write_manifests
from trainers.group import Group
from trainers.loop import Evaluate, fit
from trainers.metrics import Progress
from trainers.saving import Saver, load_together
from trainers.session import begin_session, state_of
from trainers.stop import Request, StoppedError

ROLL_BACK = 0.5
"""On the learning rate, once in a training."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial keeps what outlives its processes; on storage that every node sees."""

    checkpoints: Path
    clean_starts: Path
    """Shared by the trials of a search."""
    manifests: Path
    """Which images they train on; shared, too."""


def run_trial(
    config: TrialConfig,
    place: Place,
    *,
    load: Callable[[TrialConfig], Images],
    group: Group,
    checkpoints: CheckpointsConfig,
    clean_recipe: TrialConfig,
    rungs: Collection[int],
    evaluate: Evaluate,
    must_stop: Callable[[], bool],
    report: Callable[[Progress], None],
) -> None:
    """Trains on one rank, from the latest checkpoint, and reports every epoch.

    What a killed process may not have told is told again.

    Args:
        load: Opens the train images as a config asks.
        group, rungs, evaluate: As for `fit`.
        clean_recipe: How a clean training goes (`trainers/clean_start.py`).
        must_stop: Asked after a step; once any rank is told to, all save and end.

    Raises:
        FloatingPointError: If the loss is not finite, and there is no or no second way back.
        StoppedError: If it had to stop before its last epoch.
        ValueError: If the checkpoint belongs to another config or other images, or is damaged.
    """
    images = load(config)
    if group.rank == 0:
        remove_drafts(place.checkpoints)
        write_manifests(config.data, place.manifests, key=images.hash)
    ask = _Watch(saves=group.rank == 0, minutes=checkpoints.minutes, must_stop=must_stop)
    resume, start = load_together(place.checkpoints, config, group), None
    if resume is not None:
        _require_same_images(resume.progress.images, images.hash, place.manifests)
        if resume.progress.history:
            report(resume.progress)
    elif config.weights.clean_epochs:
        start = clean_start(
            config, place.clean_starts, recipe=clean_recipe, load=load, group=group, ask=ask
        )
    train = partial(
        fit,
        config,
        images=images,
        rungs=rungs,
        evaluate=evaluate,
        group=group,
        start=start,
        ask=ask,
    )
    with Saver(place.checkpoints, keep=checkpoints.keep) as saver:
        if group.rank == 0 and resume is not None:
            saver.settle(resume)
        follow = partial(_follow, saver=saver, group=group, ask=ask, report=report)
        try:
            follow(train(resume=resume), resume)
            return
        except FloatingPointError as error:
            saver.wait()
            group.highest(0)  # the others read only after rank 0 has written
            last, why = load_together(place.checkpoints, config, group), str(error)
            if config.non_finite == "stop" or (last is not None and last.lr_factor < 1):
                raise
        # Outside of the error, which holds the model that failed.
        state = _rolled_back(last or _beginning(config, images, group, start), why)
        try:
            follow(train(resume=state), state)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}, after a roll-back: {why}") from error


def _follow(
    states: Iterator[TrainState],
    last: TrainState | None,
    *,
    saver: Saver,
    group: Group,
    ask: "_Watch",
    report: Callable[[Progress], None],
) -> None:
    """Saves each of `states`, which follow on `last`, and reports those at the end of an epoch.

    Raises:
        StoppedError: If they end before the last epoch.
    """
    for state in states:
        last = state
        if group.rank == 0:
            saver.save(state)
            ask.restart()
        if not len(state.losses):
            if state.progress.history[-1].check is not None:
                saver.wait()  # whoever judges the check may end this process at once
            report(state.progress)
    if last is None or last.epoch < last.config.epochs:
        saver.wait()
        raise StoppedError("training was asked to stop, and saved where it was")


def _require_same_images(before: str, now: str, manifests: Path) -> None:
    if before != now:
        changed = changed_images(manifests, before=before, now=now) or "other pixels or labels"
        raise ValueError(
            f"the checkpoint was trained on other images ({before}) than are here now ({now}): "
            f"{changed}; bring those back, or begin a new run"
        )


def _beginning(
    config: TrialConfig, images: Images, group: Group, start: CleanStart | None
) -> TrainState:
    return state_of(begin_session(config, images, group=group, resume=None, start=start))


def _rolled_back(state: TrainState, why: str) -> TrainState:
    event = (
        f"{why}; went back to epoch {state.epoch}, step {len(state.losses)}, with {ROLL_BACK:g} "
        "times the learning rate"
    )
    progress = state.progress.model_copy(update={"events": (*state.progress.events, event)})
    factor = state.lr_factor * ROLL_BACK
    return replace(state, progress=progress, lr_factor=factor)


class _Watch:
    """Asks for a checkpoint every so many minutes, and for the end when it must come."""

    def __init__(self, *, saves: bool, minutes: float, must_stop: Callable[[], bool]) -> None:
        """`saves`: whether this rank asks for checkpoints; one is enough."""
        self._saves = saves
        self._period_s = 60 * minutes
        self._must_stop = must_stop
        self._last = time.monotonic()

    def __call__(self) -> Request:
        if self._must_stop():
            return Request.STOP
        if self._saves and time.monotonic() - self._last >= self._period_s:
            return Request.SAVE
        return Request.NOTHING

    def restart(self) -> None:
        """Counts anew from now."""
        self._last = time.monotonic()
