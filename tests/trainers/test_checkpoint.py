"""Checkpoints: what is saved comes back, what is not whole is passed over, and which ones stay."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import (
    BEST,
    TrainState,
    checkpoints,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from trainers.config import TrialConfig
from trainers.group import alone
from trainers.loop import fit
from trainers.metrics import Accuracy, EpochMetrics, Progress, best_epoch
from trainers.saving import Saver, copied
from trainers.stop import Request


def states(config: TrialConfig, count: int) -> list[TrainState]:
    """The first states of a training that is asked to save after each step."""
    training = fit(
        config,
        images=random_images(24),
        rungs=(),
        evaluate=lambda _, __: CHECK,
        group=alone(torch.device("cpu")),
        resume=None,
        start=None,
        ask=lambda: Request.SAVE,
    )
    return [copied(next(training)) for _ in range(count)]


@pytest.mark.parametrize("ema_horizon", [0.0, 0.5])
@pytest.mark.parametrize(("count", "name"), [(2, "e00000-s000002.pt"), (4, "e00001-s000000.pt")])
def test_a_state_comes_back_as_it_was(
    count: int, name: str, ema_horizon: float, tmp_path: Path
) -> None:
    config = tiny_trial(ema_horizon=ema_horizon)
    state = states(config, count)[-1]

    save_checkpoint(tmp_path / "new", state)
    loaded = load_checkpoint(tmp_path / "new", config)

    assert loaded is not None
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    assert (loaded.ema is None) == (ema_horizon == 0)
    for field, value in vars(state).items():
        if isinstance(value, (dict, torch.Tensor)):
            torch.testing.assert_close(getattr(loaded, field), value, rtol=0, atol=0)
        else:
            assert getattr(loaded, field) == value


@pytest.mark.parametrize("ema_horizon", [0.0, 0.5])
def test_load_model_gives_the_scored_weights(ema_horizon: float, tmp_path: Path) -> None:
    within, end = states(tiny_trial(ema_horizon=ema_horizon), 5)[-1:-3:-1]
    save_checkpoint(tmp_path, within)  # of the epoch that runs: no model to show
    path = save_checkpoint(tmp_path, end)

    config, model = load_model(tmp_path)

    weight = model.state_dict()["network.head.fc.weight"]
    name, source = "network.head.fc.weight", end.model
    if end.ema is not None:
        name, source = f"averaged.{name}", end.ema
    assert config == end.config
    assert not any(module.training for module in model.modules())
    assert torch.equal(weight, source[name])
    assert torch.equal(load_model(path)[1].state_dict()["network.head.fc.weight"], weight)


def test_without_a_checkpoint_there_is_nothing_to_resume_or_to_evaluate(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, tiny_trial()) is None
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*: expected a file"):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", [0.0, 0.01, 0.5, 0.99, "a bit"])
def test_a_damaged_checkpoint_is_passed_over_loudly(
    damage: float | str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = states(tiny_trial(), 2)
    save_checkpoint(tmp_path, first)
    path = save_checkpoint(tmp_path, second)
    content = bytearray(path.read_bytes())
    if isinstance(damage, float):
        del content[int(damage * len(content)) :]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)

    loaded = load_checkpoint(tmp_path, tiny_trial())

    assert loaded is not None
    assert len(loaded.losses) == 1
    (event,) = loaded.progress.events
    assert "e00000-s000002.pt is damaged" in event
    assert event.endswith("went on from e00000-s000001.pt")
    assert f"damaged checkpoint={path}" in caplog.text


def test_a_damaged_checkpoint_does_not_count_as_the_latest(tmp_path: Path) -> None:
    first, second, third = states(tiny_trial(), 3)
    save_checkpoint(tmp_path, first)
    save_checkpoint(tmp_path, third).write_bytes(b"PK no")
    load_checkpoint(tmp_path, tiny_trial())

    with Saver(tmp_path, keep=1) as saver:
        saver.save(second)

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["e00000-s000002.pt", "e00000-s000003.damaged"]


def test_a_folder_of_damaged_checkpoints_alone_is_refused(tmp_path: Path) -> None:
    for state in states(tiny_trial(), 2):
        save_checkpoint(tmp_path, state).write_bytes(b"PK no")

    with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged: .*s000002.*s000001"):
        load_checkpoint(tmp_path, tiny_trial())


def test_another_config_is_refused_with_the_differing_paths(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, states(tiny_trial(), 1)[0])
    other = tiny_trial(optim={"lr": 2e-3}, seed=6)

    with pytest.raises(
        ValueError, match=r"another config: optim.lr is 0.001 there, 0.002 here; seed is 5 there"
    ):
        load_checkpoint(tmp_path, other)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, states(tiny_trial(), 1)[0])

    with pytest.raises(ValueError, match=r"model.widths is \[8, 16\] there, \[8, 32\] here"):
        load_checkpoint(tmp_path, tiny_trial(model={"widths": [8, 32]}))


def test_a_checkpoint_of_an_earlier_version_says_which_fields_differ(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, states(tiny_trial(), 1)[0])
    content = torch.load(path, weights_only=True)
    tree = json.loads(content["config"])
    del tree["freeze"]
    changed = io.BytesIO()
    torch.save({**content, "config": json.dumps(tree)}, changed)
    path.write_bytes(changed.getvalue() + hashlib.sha256(changed.getvalue()).digest())

    with pytest.raises(ValueError, match=r"version whose configs differ in freeze; evaluate it"):
        load_model(path)


def test_the_latest_the_end_of_an_epoch_and_the_best_stay(tmp_path: Path) -> None:
    config = tiny_trial()
    kept: list[list[str]] = []
    with Saver(tmp_path, keep=2) as saver:
        for state in states(config, 12):
            saver.save(with_accuracies(state, [1, 3, 2]))
            saver.wait()
            kept.append([path.name[:14] for path in checkpoints(tmp_path)])

    assert kept[1] == ["e00000-s000001", "e00000-s000002"]
    assert kept[3] == ["e00000-s000003", "e00001-s000000"]
    assert kept[6] == ["e00001-s000000", "e00001-s000002", "e00001-s000003"]
    assert kept[7] == ["e00001-s000003", "e00002-s000000"]
    assert kept[-1] == ["e00003-s000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [BEST, "e00003-s000000.pt"]
    best = torch.load(tmp_path / BEST, weights_only=True)
    assert best["epoch"] == 2


def test_the_best_epoch_is_the_first_with_the_highest_robust_accuracy() -> None:
    state = states(tiny_trial(), 1)[0]

    assert best_epoch(()) is None
    assert best_epoch(progress_of([1, 3, 2, 3], state.progress).history) == 2


def test_a_state_that_cannot_be_written_is_not_forgotten(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    state = states(tiny_trial(), 1)[0]

    with pytest.raises(OSError, match="taken"), Saver(tmp_path / "taken", keep=2) as saver:
        saver.save(state)


def test_what_is_written_is_the_state_when_it_was_handed_over(tmp_path: Path) -> None:
    state = states(tiny_trial(), 1)[0]
    before = copied(state)

    with Saver(tmp_path, keep=2) as saver:
        saver.save(state)
        for tensor in state.model.values():
            tensor.zero_()

    loaded = load_checkpoint(tmp_path, tiny_trial())
    assert loaded is not None
    torch.testing.assert_close(loaded.model, before.model, rtol=0, atol=0)


def with_accuracies(state: TrainState, correct: list[int]) -> TrainState:
    """The state with as many epochs in its history as are over."""
    progress = progress_of(correct[: state.epoch], state.progress)
    return replace(state, progress=progress)


def progress_of(correct: list[int], like: Progress) -> Progress:
    history = [
        EpochMetrics(
            epoch=epoch,
            train_loss=1.0,
            train_accuracy=0.5,
            lr=0.1,
            eps=0.1,
            seconds=1.0,
            check=CHECK.model_copy(update={"robust": Accuracy(attack="aa", n=4, correct=right)}),
            raw_check=None,
        )
        for epoch, right in enumerate(correct, 1)
    ]
    return like.model_copy(update={"history": tuple(history)})
