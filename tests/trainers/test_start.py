"""What training starts from, and what it leaves alone."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from trial_factory import CHECK, random_images, tiny_trial

from models.layouts import export_weights
from models.registry import build_model
from trainers.checkpoint import TrainState
from trainers.config import TrialConfig
from trainers.loop import fit

IMAGES = random_images(24)
CPU = torch.device("cpu")


def states(config: TrialConfig, resume: TrainState | None = None) -> list[TrainState]:
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
            start=None,
        )
    )


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
