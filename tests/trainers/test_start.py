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

from models.config import TimmConfig
from models.layouts import export_weights
from models.normalize import MEAN_STD, Scheme
from models.registry import build_model
from trainers.checkpoint import TrainState
from trainers.config import TrialConfig
from trainers.group import alone
from trainers.loop import fit
from trainers.start import load_start

IMAGES = random_images(24)
CPU = torch.device("cpu")


def states(config: TrialConfig, resume: TrainState | None = None) -> list[TrainState]:
    return list(
        fit(
            config,
            images=IMAGES,
            rungs=(),
            evaluate=lambda _, __: CHECK,
            group=alone(CPU),
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


def file_of(config: TrialConfig, kind: str, folder: Path) -> Path:
    """Writes random weights of a trial's model in a layout, or as the trial's checkpoint."""
    model = build_model(config.model, num_classes=12, resolution=config.data.resolution)
    state = model.state_dict()
    if kind == "checkpoint":
        path = folder / "checkpoint.pt"
        torch.save({"config": config.model_dump_json(), "model": state, "ema": None}, path)
        return path
    if kind == "first wrapper":
        path = folder / "theirs.pt"
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in MEAN_STD[config.model.normalize])
        inside = {f"model.{n.removeprefix('network.')}": t for n, t in state.items()}
        torch.save({"mean": mean, "std": std, **inside}, path)
        return path
    path = folder / ("a.safetensors" if kind in ("rampart", "timm") else "a.pt")
    layout: Any = kind
    export_weights(model, path, layout=layout, config=config.model)
    return path


def with_model(kind: str, *, normalize: Scheme) -> TrialConfig:
    """Returns a trial whose model the layout can hold: one of timm's for timm's."""
    config = tiny_trial(model={"normalize": normalize})
    if kind != "timm":
        return config
    model = TimmConfig(
        family="timm",
        name="test_resnet",
        stem="own",
        drop_path=0.0,
        head_dropout=0.0,
        blur_pool=False,
        normalize=normalize,
    )
    return config.model_copy(update={"model": model})


def begin(config: TrialConfig) -> str:
    """Returns what a trial says of its start."""
    model = build_model(config.model, num_classes=12, resolution=config.data.resolution)
    return load_start(model, config, None)


@pytest.mark.parametrize(
    "kind", ["rampart", "timm", "checkpoint", "debenedetti", "revisiting", "first wrapper"]
)
@pytest.mark.parametrize("theirs", ["imagenet", "cifar"])
def test_weights_behind_another_normalisation_are_refused(
    kind: str, theirs: Scheme, tmp_path: Path
) -> None:
    source, other = with_model(kind, normalize=theirs), with_model(kind, normalize="half")
    path = file_of(source, kind, tmp_path)
    init = {"weights": other.weights.model_copy(update={"init": str(path)}), "epochs": 1}

    with pytest.raises(
        ValueError, match=rf"not for model\.normalize=half; set model\.normalize to {theirs}"
    ):
        begin(other.model_copy(update=init))

    assert begin(source.model_copy(update=init)).startswith(str(path))


@pytest.mark.parametrize("kind", ["rampart", "checkpoint"])
def test_weights_of_a_model_without_normalisation_are_refused_for_one_with_it(
    kind: str, tmp_path: Path
) -> None:
    path = file_of(tiny_trial(model={"normalize": "none"}), kind, tmp_path)

    with pytest.raises(ValueError, match=r"set model\.normalize to none"):
        begin(tiny_trial(weights={"init": str(path)}))


@pytest.mark.parametrize("kind", ["rampart", "checkpoint", "revisiting"])
@pytest.mark.parametrize("is_blurred", [True, False])
def test_weights_of_a_model_that_blurs_otherwise_are_refused(
    kind: str, is_blurred: bool, tmp_path: Path
) -> None:
    source, other = (
        tiny_trial(model={"widths": [16, 32], "blur_pool": blur})
        for blur in (is_blurred, not is_blurred)
    )
    path = file_of(source, kind, tmp_path)
    init = {"weights": other.weights.model_copy(update={"init": str(path)})}

    theirs = str(is_blurred).lower()
    with pytest.raises(ValueError, match=rf"model\.blur_pool={theirs}, .*set model\.blur_pool to"):
        begin(other.model_copy(update=init))

    assert begin(source.model_copy(update=init)).startswith(str(path))


@pytest.mark.parametrize("blur", [True, False])
def test_a_file_that_does_not_say_whether_it_blurs_is_taken(blur: bool, tmp_path: Path) -> None:
    config = tiny_trial(model={"widths": [16, 32], "blur_pool": blur})
    plain = tiny_trial(model={"widths": [16, 32]})
    path = file_of(plain, "debenedetti", tmp_path)
    init = {"weights": config.weights.model_copy(update={"init": str(path)})}

    assert begin(config.model_copy(update=init)).startswith(str(path))


def test_a_checkpoint_with_a_config_of_someone_else_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt"
    config = tiny_trial(weights={"init": str(path)})
    model = build_model(config.model, num_classes=12, resolution=16)
    for theirs in ("lr: 0.1", "[1]", '{"model": "convnext"}'):
        torch.save({"config": theirs, "state_dict": model.state_dict()}, path)

        assert begin(config).startswith(str(path))


def test_another_size_alone_allows_no_other_head(tmp_path: Path) -> None:
    path = file_of(tiny_trial(), "rampart", tmp_path)
    config = tiny_trial(weights={"init": str(path), "allow": ["size"]}, model={"depths": [2, 1]})
    model, wider = (
        build_model(config.model, num_classes=n, resolution=config.data.resolution)
        for n in (12, 20)
    )

    with pytest.raises(ValueError, match=r"but for size: head\.fc\.bias is \(12,\) there, \(20,\)"):
        load_start(wider, config, None)

    assert load_start(model, config, None).startswith(str(path))


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
        evaluate=lambda _, __: CHECK,
        group=alone(CPU),
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
