"""What training starts from, and what it leaves alone."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from trial_factory import CHECK, random_images, tiny_trial

from models.layouts import export_weights
from models.registry import build_model
from trainers.checkpoint import TrainState
from trainers.clean_start import clean_config, clean_start
from trainers.config import TrialConfig
from trainers.loop import fit

IMAGES = random_images(24)
CPU = torch.device("cpu")


def states(
    config: TrialConfig, start: Mapping[str, Tensor] | None = None, resume: TrainState | None = None
) -> list[TrainState]:
    return list(
        fit(
            config,
            images=IMAGES,
            rungs=(),
            evaluate=lambda _: CHECK,
            rank=0,
            world_size=1,
            device=CPU,
            resume=resume,
            start=start,
        )
    )


def start_of(config: TrialConfig, folder: Path) -> dict[str, Tensor]:
    found = clean_start(
        config,
        folder,
        images=IMAGES,
        evaluate=lambda _: CHECK,
        rank=0,
        world_size=1,
        device=CPU,
    )
    return {name: value.clone() for name, value in found.items()}


def model_file(config: TrialConfig, path: Path) -> dict[str, Tensor]:
    torch.manual_seed(99)
    model = build_model(config.model, num_classes=12, resolution=config.data.resolution)
    save_file(model.state_dict(), path)
    return model.state_dict()


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_training_starts_from_the_weights_of_a_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = tiny_trial(weights={"init": str(path)}, optim={"lr": 1e-12}, epochs=1)
    saved = model_file(config, path)

    (state,) = states(config)

    for name, value in state.model.items():
        torch.testing.assert_close(value, saved[name], atol=1e-6, rtol=0)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert state.progress.start.startswith(f"{path} (SHA-256 {digest}): ")


def test_weights_behind_another_normalisation_are_refused(tmp_path: Path) -> None:
    config = tiny_trial(model={"normalize": "imagenet"})
    model = build_model(config.model, num_classes=12, resolution=16)
    export_weights(model, tmp_path / "theirs.pt", layout="debenedetti")
    other = tiny_trial(weights={"init": str(tmp_path / "theirs.pt")}, epochs=1)

    with pytest.raises(ValueError, match=r"not for model\.normalize=half; set it to imagenet"):
        states(other)

    same_model = other.model_copy(update={"model": config.model})
    assert states(same_model)[0].progress.start.startswith(str(tmp_path / "theirs.pt"))


def test_without_a_source_weights_are_random_and_the_record_says_so() -> None:
    (state, *_) = states(tiny_trial(epochs=1))

    assert state.progress.start == "random weights"


def test_a_missing_file_ends_the_trial_with_its_name(tmp_path: Path) -> None:
    config = tiny_trial(weights={"init": str(tmp_path / "nowhere.safetensors")})

    with pytest.raises(ValueError, match=r"nowhere\.safetensors"):
        states(config)


def test_a_clean_start_is_the_training_without_an_attack(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 2})

    start = start_of(config, tmp_path)

    clean = clean_config(config)
    assert (clean.attack.fraction, clean.epochs, clean.weights.clean_epochs) == (0, 2, 0)
    assert same(start, states(clean)[-1].model)


def test_trials_that_differ_in_their_attack_share_a_clean_start(tmp_path: Path) -> None:
    first = tiny_trial(weights={"clean_epochs": 1})
    other = tiny_trial(weights={"clean_epochs": 1}, attack={"steps": 5}, epochs=7)
    start = start_of(first, tmp_path)
    (file,) = tmp_path.glob("*/checkpoint.pt")
    written = file.stat().st_mtime_ns

    again = start_of(other, tmp_path)

    assert same(start, again)
    assert [f.stat().st_mtime_ns for f in tmp_path.glob("*/checkpoint.pt")] == [written]


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"depths": [2, 1]}},
        {"optim": {"lr": 2e-3}},
        {"augment": {"flip": 0.5}},
        {"weights": {"clean_epochs": 2}},
    ],
)
def test_trials_that_differ_in_model_or_clean_recipe_do_not(
    change: dict[str, Any], tmp_path: Path
) -> None:
    start_of(tiny_trial(weights={"clean_epochs": 1}), tmp_path)

    start_of(tiny_trial(**{"weights": {"clean_epochs": 1}, **change}), tmp_path)

    assert len(list(tmp_path.iterdir())) == 2


def test_a_killed_clean_start_goes_on_after_its_last_epoch(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 3})
    whole = start_of(config, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def die(_: object) -> Any:
        raise KilledError

    # The check comes after the last epoch, before its checkpoint.
    with pytest.raises(KilledError):
        clean_start(
            config,
            tmp_path / "killed",
            images=IMAGES,
            evaluate=die,
            rank=0,
            world_size=1,
            device=CPU,
        )
    resumed = start_of(config, tmp_path / "killed")

    assert same(whole, resumed)


def test_a_trial_begins_from_its_clean_start(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 1}, optim={"lr": 1e-12}, epochs=1)
    start = {name: value + 1 for name, value in start_of(config, tmp_path).items()}

    (state,) = states(config, start)

    for name, value in state.model.items():
        torch.testing.assert_close(value, start[name], atol=1e-6, rtol=0)
    assert state.progress.start == "clean training, epochs=1"


def test_a_clean_start_that_nobody_brought_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"weights\.clean_epochs needs the weights"):
        states(tiny_trial(weights={"clean_epochs": 1}))


def test_a_resumed_trial_keeps_its_weights_and_does_not_start_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    config = tiny_trial(weights={"init": str(path)}, epochs=2)
    model_file(config, path)
    whole = states(config)
    first = fit(
        config,
        images=IMAGES,
        rungs=(),
        evaluate=lambda _: CHECK,
        rank=0,
        world_size=1,
        device=CPU,
        resume=None,
        start=None,
    )
    after_one = next(first)

    path.unlink()
    (resumed,) = states(config, resume=after_one)

    assert same(whole[-1].model, resumed.model)
    assert resumed.progress.start == whole[-1].progress.start


@pytest.mark.parametrize(
    ("which", "frozen"),
    [
        ("stem", ".*stem.*"),
        ("all_but_stem", "(?!.*stem).*"),
        ("first_1", r".*(stem|stages\.0).*"),
        ("none", "nothing"),
    ],
)
def test_frozen_weights_stay_and_the_others_learn(which: str, frozen: str) -> None:
    config = tiny_trial(freeze=which, epochs=1, optim={"lr": 0.01}, ema_horizon=0.5)
    torch.manual_seed(config.seed)
    model = build_model(config.model, num_classes=12, resolution=config.data.resolution)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    (state,) = states(config)

    for name, value in state.model.items():
        assert torch.equal(value, before[name]) == bool(re.fullmatch(frozen, name)), name
