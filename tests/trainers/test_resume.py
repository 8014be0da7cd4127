"""A training that is killed, stopped, damaged or rolled back ends as it should: bit by bit."""

import math
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from process_group import run_group
from stored_factory import stored_trial, write_folder
from torch import Tensor, nn
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import BEST, TrainState, checkpoints, load_checkpoint
from trainers.config import CheckpointsConfig, TrialConfig
from trainers.data.load import Images, load_train
from trainers.group import Group, alone
from trainers.loop import Evaluate
from trainers.metrics import Check, Progress
from trainers.run import Place, run_trial
from trainers.schedules import lr_at
from trainers.stop import StoppedError

CPU = torch.device("cpu")
EVERY_STEP = CheckpointsConfig(minutes=1e-9, keep=3)
EVERY_EPOCH = CheckpointsConfig(minutes=1e9, keep=3)
AUGMENT = {"flip": 0.5, "erasing": 0.25, "mixup": 0.8, "cutmix": 1.0}
EVERYTHING: dict[str, Any] = {
    "augment": {**AUGMENT, "randaugment": 9.0},
    "model": {"drop_path": 0.3},
    "attack": {"noise": 1.0},
    "ema_horizon": 0.5,
    "epochs": 4,
}
WATCHED: dict[str, Any] = {**EVERYTHING, "augment": AUGMENT}
"""Without RandAugment: it draws from Python's global stream, and so does beartype, which checks our
functions in this process, also those of the thread that writes checkpoints."""
STEPS = 20


def train(
    config: TrialConfig,
    folder: Path,
    *,
    images: Images | None = None,
    group: Group | None = None,
    saving: CheckpointsConfig = EVERY_STEP,
    must_stop: Callable[[], bool] = lambda: False,
    report: Callable[[Progress], None] = lambda _: None,
    evaluate: Evaluate = lambda _, __: CHECK,
    rungs: tuple[int, ...] = (2,),
) -> None:
    """Five steps of eight images in each epoch."""
    run_trial(
        config,
        Place(checkpoints=folder, clean_starts=folder / "clean", manifests=folder / "manifests"),
        load=lambda _: images or random_images(40),
        group=group or alone(CPU),
        checkpoints=saving,
        clean_recipe=config,
        rungs=rungs,
        evaluate=evaluate,
        must_stop=must_stop,
        report=report,
    )


def end_of(folder: Path, config: TrialConfig) -> TrainState:
    state = load_checkpoint(folder, config)
    assert state is not None
    assert state.epoch == config.epochs
    return state


def assert_same(state: TrainState, other: TrainState) -> None:
    for name in ("model", "ema", "optimizer"):
        torch.testing.assert_close(getattr(state, name), getattr(other, name), rtol=0, atol=0)
    assert history(state.progress) == history(other.progress)


def history(progress: Progress) -> list[object]:
    return [epoch.model_copy(update={"seconds": 0.0}) for epoch in progress.history]


def train_and_die(group: Group, config: TrialConfig, folder: Path, steps: int | None) -> None:
    """Trains as one rank; rank 0 kills itself after so many steps."""
    taken = 0

    def die() -> bool:
        nonlocal taken
        taken += 1
        if group.rank == 0 and taken == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    train(config, folder, group=group, must_stop=die)


def run(config: TrialConfig, folder: Path, size: int, steps: int | None) -> int:
    """Returns how rank 0 ended; the others die with it."""
    store = folder.with_name(f"{folder.name}-{time.monotonic_ns()}")
    return run_group(train_and_die, (config, folder, steps), store=store, size=size)


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_killed_at_five_random_steps_is_bit_equal_to_one_that_was_not(
    size: int, tmp_path: Path
) -> None:
    config, draw = tiny_trial(**EVERYTHING), random.Random(size)
    assert run(config, tmp_path / "whole", size, None) == 0

    for _ in range(5):
        steps = draw.randint(1, STEPS // 5)
        assert run(config, tmp_path / "killed", size, steps) == -signal.SIGKILL
    assert run(config, tmp_path / "killed", size, None) == 0

    assert_same(end_of(tmp_path / "killed", config), end_of(tmp_path / "whole", config))


@pytest.mark.parametrize("steps", [1, 5, 7, 19])
def test_a_run_that_is_stopped_saves_where_it_was_and_goes_on(steps: int, tmp_path: Path) -> None:
    config = tiny_trial(**WATCHED)
    train(config, tmp_path / "whole", saving=EVERY_EPOCH)
    taken: list[None] = []

    def must_stop() -> bool:
        taken.append(None)
        return len(taken) == steps

    with pytest.raises(StoppedError, match="asked to stop, and saved where it was"):
        train(config, tmp_path / "stopped", saving=EVERY_EPOCH, must_stop=must_stop)
    stopped = load_checkpoint(tmp_path / "stopped", config)
    train(config, tmp_path / "stopped", saving=EVERY_EPOCH)

    assert stopped is not None
    assert 5 * stopped.epoch + len(stopped.losses) == steps
    assert_same(end_of(tmp_path / "stopped", config), end_of(tmp_path / "whole", config))


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path: Path) -> None:
    config = tiny_trial(**WATCHED)
    train(config, tmp_path / "whole", saving=EVERY_EPOCH)
    left = iter(range(12))
    with pytest.raises(StoppedError):
        train(config, tmp_path / "cut", must_stop=lambda: next(left) == 11)
    latest = checkpoints(tmp_path / "cut")[-1]
    latest.write_bytes(latest.read_bytes()[:1000])

    train(config, tmp_path / "cut")

    end = end_of(tmp_path / "cut", config)
    (event,) = end.progress.events
    assert "e00002-s000002.pt is damaged" in event
    assert (tmp_path / "cut" / "e00002-s000002.damaged").exists()
    assert_same(end, end_of(tmp_path / "whole", config))


def test_every_epoch_is_told_and_what_a_kill_swallowed_again_and_its_drafts_go(
    tmp_path: Path,
) -> None:
    config = tiny_trial(epochs=2)
    told: list[int] = []
    (tmp_path / ".e00001-s000000.pt.0123abcd").write_text("half a checkpoint")
    (tmp_path / ".hidden").write_text("not ours")

    train(config, tmp_path, report=lambda progress: told.append(len(progress.history)))
    train(config, tmp_path, report=lambda progress: told.append(len(progress.history)))

    assert told == [1, 2, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden",
        BEST,
        "e00002-s000000.pt",
    ]


class Sabotage:
    """A check after which the loss is not a number, until the model is built anew."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, model: nn.Module, epoch: int | None) -> Check:
        del epoch
        if self.times:
            self.times -= 1
            model.register_forward_hook(_spoil)
        return CHECK


def _spoil(module: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
    del inputs
    return logits * math.nan if module.training else logits


def test_a_loss_that_is_not_finite_rolls_back_once_with_half_the_rate(tmp_path: Path) -> None:
    config = tiny_trial(non_finite="roll_back", epochs=4)

    train(config, tmp_path, saving=EVERY_EPOCH, evaluate=Sabotage(1))

    end = end_of(tmp_path, config)
    (event,) = end.progress.events
    assert event == (
        "loss is nan at epoch=3, step=0; went back to epoch 2, step 0, with 0.5 times the learning "
        "rate"
    )
    last_steps = [epoch - 1 / 5 for epoch in (1, 2, 3, 4)]
    rates = [lr_at(done / 4, config.optim, batch_size=8) for done in last_steps]
    found = [epoch.lr for epoch in end.progress.history]
    assert found == pytest.approx([rates[0], rates[1], rates[2] / 2, rates[3] / 2])


def test_a_second_loss_that_is_not_finite_ends_training(tmp_path: Path) -> None:
    config = tiny_trial(non_finite="roll_back", epochs=4)

    with pytest.raises(FloatingPointError, match="loss is nan at epoch=4, step=0"):
        train(config, tmp_path, saving=EVERY_EPOCH, evaluate=Sabotage(2), rungs=(2, 3))


def test_without_a_roll_back_the_first_one_ends_training(tmp_path: Path) -> None:
    config = tiny_trial(non_finite="stop")

    with pytest.raises(FloatingPointError, match="loss is nan at epoch=3, step=0"):
        train(config, tmp_path, saving=EVERY_EPOCH, evaluate=Sabotage(1))


def test_before_the_first_checkpoint_a_roll_back_begins_anew(tmp_path: Path) -> None:
    diverging = {"name": "sgd", "lr": 1e30, "clip_norm": 0.0, "warmup": 0.0}
    config = tiny_trial(non_finite="roll_back", optim=diverging)
    told: list[Progress] = []

    with pytest.raises(
        FloatingPointError, match=r"loss is (nan|inf) at epoch=1, step=\d"
    ) as caught:
        train(config, tmp_path, saving=EVERY_EPOCH, report=told.append)

    assert ", after a roll-back: loss is " in str(caught.value)
    assert (told, checkpoints(tmp_path)) == ([], [])


def test_a_run_goes_on_with_one_worker_and_with_two_again(tmp_path: Path) -> None:
    """Batch, order and rate stay; sums are taken in another order, so it is close, not equal."""
    # l2 and SGD, because a sign of zero and Adam's division turn a rounding error into a step.
    steady = {"name": "sgd", "lr": 0.05, "warmup": 0.0}
    config = tiny_trial(threat={"norm": "l2", "eps": 0.5}, optim=steady, ema_horizon=0.5)
    assert run(config, tmp_path / "whole", 2, None) == 0

    assert run(config, tmp_path / "elastic", 2, 7) == -signal.SIGKILL
    assert run(config, tmp_path / "elastic", 1, 6) == -signal.SIGKILL
    assert run(config, tmp_path / "elastic", 2, None) == 0

    elastic, whole = end_of(tmp_path / "elastic", config), end_of(tmp_path / "whole", config)
    torch.testing.assert_close(elastic.model, whole.model, rtol=0, atol=1e-5)
    torch.testing.assert_close(elastic.ema, whole.ema, rtol=0, atol=1e-5)
    changes = [event.partition(" from ")[0] for event in elastic.progress.events]
    assert changes == ["1 worker(s) instead of 2", "2 worker(s) instead of 1"]


def test_other_images_are_refused(tmp_path: Path) -> None:
    train(tiny_trial(), tmp_path)

    with pytest.raises(ValueError, match=r"other images \(\w+\) than are here now \(\w+\): other"):
        train(tiny_trial(), tmp_path, images=random_images(32))


def test_other_files_are_refused_and_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "images", per_class=3)
    config = stored_trial(path, epochs=1)
    train(config, tmp_path / "run", images=load_train(config))
    for file in path.glob("*/0002.png"):
        file.rename(file.with_name("0009.png"))

    with pytest.raises(ValueError, match=r"train: \d+ images are gone, such as \w+/0002\.png"):
        train(config, tmp_path / "run", images=load_train(config))
