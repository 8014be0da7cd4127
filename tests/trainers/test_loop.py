"""The loop: exact resumption, one loss, and refusals. The shared batch is in test_ranks.py."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import TrainState, load_checkpoint, save_checkpoint
from trainers.config import TrialConfig, shares
from trainers.data.images import ImageSet
from trainers.group import Group
from trainers.loop import Evaluate, fit
from trainers.metrics import Check, Progress
from trainers.stop import Request

EVERYTHING = {
    "crop_scale": 0.5,
    "flip": 0.5,
    "color_jitter": 0.4,
    "randaugment": 9.0,
    "erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
}


def say_check(model: nn.Module, epoch: int | None) -> Check:
    del model, epoch
    return CHECK


def start(
    config: TrialConfig,
    *,
    images: ImageSet | None = None,
    rungs: tuple[int, ...] = (),
    evaluate: Evaluate = say_check,
    workers: int = 1,
    resume: TrainState | None = None,
    ask: Callable[[], Request] = lambda: Request.NOTHING,
) -> Any:
    return fit(
        config,
        images=random_images(24) if images is None else images,
        rungs=rungs,
        evaluate=evaluate,
        group=Group(rank=0, size=workers, planned=workers, device=torch.device("cpu")),
        resume=resume,
        start=None,
        ask=ask,
    )


def without_times(progress: Progress) -> Progress:
    history = tuple(epoch.model_copy(update={"seconds": 0.0}) for epoch in progress.history)
    return progress.model_copy(update={"first_step_at": 0.0, "history": history})


@pytest.mark.parametrize("attack", ["pgd", "apgd"])
def test_a_resumed_run_is_bit_equal_to_an_uninterrupted_one(attack: str, tmp_path: Path) -> None:
    config = tiny_trial(
        augment=EVERYTHING,
        model={"drop_path": 0.3},
        attack={"name": attack},
        ema_horizon=0.5,
    )
    *_, whole = start(config)

    save_checkpoint(tmp_path, next(start(config)))
    torch.rand(7)  # whatever happens in between must not matter
    *_, resumed = start(config, resume=load_checkpoint(tmp_path, config))

    torch.testing.assert_close(resumed.model, whole.model, rtol=0, atol=0)
    torch.testing.assert_close(resumed.ema, whole.ema, rtol=0, atol=0)
    torch.testing.assert_close(resumed.optimizer, whole.optimizer, rtol=0, atol=0)
    assert without_times(resumed.progress) == without_times(whole.progress)


def test_training_lowers_the_loss_on_what_it_sees() -> None:
    config = tiny_trial(epochs=15, optim={"lr": 5e-3}, threat={"eps": "1/255"}, label_smoothing=0.0)

    *_, last = start(config)

    losses = [epoch.train_loss for epoch in last.progress.history]
    assert losses[0] > math.log(12) - 0.5
    assert losses[-1] < losses[0] - 0.5


def test_progress_has_one_entry_per_epoch_and_checks_at_rungs_and_the_end() -> None:
    states = list(start(tiny_trial(), rungs=(1,)))

    history = states[-1].progress.history
    assert [state.epoch for state in states] == [1, 2, 3]
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert [epoch.check for epoch in history] == [CHECK, None, CHECK]
    assert history[-1].eps == pytest.approx(4 / 255)


def test_the_average_is_scored_beside_the_raw_weights_where_the_ema_is_on() -> None:
    seen: dict[float, Tensor] = {}
    epochs: list[int | None] = []

    def evaluate(model: nn.Module, epoch: int | None) -> Check:
        epochs.append(epoch)
        assert not any(module.training for module in model.modules())
        seen[float(len(seen))] = model.state_dict()["network.head.fc.weight"]
        return CHECK.model_copy(update={"seconds": len(seen) - 1.0})

    *_, last = start(tiny_trial(ema_horizon=0.5), evaluate=evaluate)

    *_, metrics = last.progress.history
    assert metrics.check is not None
    assert metrics.raw_check is not None
    assert torch.equal(seen[metrics.check.seconds], last.ema["averaged.network.head.fc.weight"])
    assert torch.equal(seen[metrics.raw_check.seconds], last.model["network.head.fc.weight"])
    assert not torch.equal(*seen.values())
    assert epochs == [3, None]  # nothing hangs on the raw weights


@pytest.mark.parametrize("ema_horizon", [0.0, 0.5])
def test_a_check_that_ended_early_stands_alone(ema_horizon: float) -> None:
    missed = CHECK.model_copy(update={"missed": 0.4})
    checked: list[int | None] = []

    def evaluate(model: nn.Module, epoch: int | None) -> Check:
        del model
        checked.append(epoch)
        return missed if epoch == 1 else CHECK

    first = next(start(tiny_trial(ema_horizon=ema_horizon), rungs=(1,), evaluate=evaluate))

    assert checked == [1]
    assert first.progress.history[0].check == missed
    assert first.progress.history[0].raw_check is None


def test_the_learning_rate_follows_the_schedule_per_step() -> None:
    *_, last = start(tiny_trial(optim={"warmup": 0.0, "final_lr": 0.0}))

    done = 8 / 9  # the last of nine steps
    expected = 1e-3 * (1 + math.cos(math.pi * done)) / 2
    assert last.progress.history[-1].lr == pytest.approx(expected)


def test_a_non_finite_loss_names_its_epoch_and_step() -> None:
    config = tiny_trial(optim={"name": "sgd", "lr": 1e30, "clip_norm": 0.0, "warmup": 0.0})

    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) at epoch=1, step=[12]"):
        list(start(config))


@pytest.mark.parametrize(
    ("changes", "workers", "expected"),
    [
        ({}, 1, (8,)),
        ({}, 2, (4, 4)),
        ({}, 3, (3, 3, 2)),
        ({"augment": {"mixup": 0.8}}, 3, (4, 2, 2)),
        ({"augment": {"cutmix": 1.0}, "batch_size": 12}, 4, (4, 4, 2, 2)),
    ],
)
def test_a_batch_is_shared_as_evenly_as_pairs_allow(
    changes: dict[str, Any], workers: int, expected: tuple[int, ...]
) -> None:
    assert shares(tiny_trial(**changes), workers) == expected


@pytest.mark.parametrize(
    ("changes", "workers", "words"),
    [
        ({}, 9, r"batch_size \(8\) must give each of the 9 workers an image; raise it"),
        ({"augment": {"mixup": 0.8}}, 5, "must give each of the 5 workers a pair of images"),
        ({"attack": {"fraction": 0.1}}, 2, r"attack\.fraction \(0\.1\) of the 4 images .* none"),
        ({"compute": {"accumulation": 3}}, 3, r"gets 2 images of a batch, fewer than .* \(3\)"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(
    changes: dict[str, Any], workers: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        start(tiny_trial(**changes), workers=workers)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="4 images do not fill a batch of 8"):
        start(tiny_trial(), images=random_images(4))
