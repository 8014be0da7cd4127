"""Clean training before a trial: what it is, who shares it, and what a kill costs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from stored_factory import stored_trial, write_folder
from torch import Tensor
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import CleanStart, TrainState, load_checkpoint, save_checkpoint
from trainers.clean_start import clean_config, clean_start
from trainers.config import TrialConfig
from trainers.data.load import load_train
from trainers.group import alone
from trainers.loop import fit
from trainers.stop import Request

IMAGES = random_images(24)
CPU = torch.device("cpu")
RECIPE = tiny_trial()


def states(config: TrialConfig, start: CleanStart | None = None) -> list[TrainState]:
    return list(
        fit(
            config,
            images=IMAGES,
            rungs=(),
            evaluate=lambda _, __: CHECK,
            group=alone(CPU),
            resume=None,
            start=start,
        )
    )


def start_of(config: TrialConfig, folder: Path, *, recipe: TrialConfig = RECIPE) -> CleanStart:
    found = clean_start(
        config,
        folder,
        recipe=recipe,
        load=lambda _: IMAGES,
        group=alone(CPU),
        ask=lambda: Request.NOTHING,
    )
    return CleanStart(
        model={name: value.clone() for name, value in found.model.items()}, seconds=found.seconds
    )


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_a_clean_start_is_the_training_without_an_attack(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 2})

    start = start_of(config, tmp_path)

    clean = clean_config(config, recipe=RECIPE)
    assert (clean.attack.fraction, clean.epochs, clean.weights.clean_epochs) == (0, 2, 0)
    assert same(start.model, states(clean)[-1].model)
    assert start.seconds > 0


@pytest.mark.parametrize(
    "change",
    [{"attack": {"steps": 5}, "epochs": 7}, {"optim": {"lr": 0.5}}, {"augment": {"flip": 0.5}}],
)
def test_trials_of_one_model_share_a_clean_start_whatever_their_recipe(
    change: dict[str, Any], tmp_path: Path
) -> None:
    start = start_of(tiny_trial(weights={"clean_epochs": 1}), tmp_path)
    (file,) = tmp_path.glob("*/e*.pt")
    written = file.stat().st_mtime_ns

    again = start_of(tiny_trial(**{"weights": {"clean_epochs": 1}, **change}), tmp_path)

    assert same(start.model, again.model)
    assert again.seconds == 0
    assert [f.stat().st_mtime_ns for f in tmp_path.glob("*/e*.pt")] == [written]


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"depths": [2, 1]}},
        {"model": {"drop_path": 0.1}},
        {"data": {"test_images": 24}},
        {"weights": {"clean_epochs": 2}},
    ],
)
def test_trials_of_other_models_or_data_do_not(change: dict[str, Any], tmp_path: Path) -> None:
    start_of(tiny_trial(weights={"clean_epochs": 1}), tmp_path)

    start_of(tiny_trial(**{"weights": {"clean_epochs": 1}, **change}), tmp_path)

    assert len(list(tmp_path.iterdir())) == 2


def test_another_clean_recipe_is_another_start(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 1})
    start_of(config, tmp_path)

    start_of(config, tmp_path, recipe=tiny_trial(optim={"lr": 2e-3}))

    assert len(list(tmp_path.iterdir())) == 2


def test_a_killed_clean_start_goes_on_after_its_last_epoch(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 3})
    whole = start_of(config, tmp_path)
    (place,) = tmp_path.iterdir()
    (last,) = place.iterdir()
    last.unlink()
    clean = clean_config(config, recipe=RECIPE)
    after_one = fit(
        clean,
        images=IMAGES,
        rungs=(),
        evaluate=None,
        group=alone(CPU),
        resume=None,
        start=None,
    )
    save_checkpoint(place, next(after_one))

    resumed = start_of(config, tmp_path)

    assert same(whole.model, resumed.model)
    last = load_checkpoint(place, clean)
    assert last is not None
    epochs = last.progress.history
    assert resumed.seconds == sum(epoch.seconds for epoch in epochs[1:])


def test_a_trial_begins_from_its_clean_start_and_counts_its_seconds(tmp_path: Path) -> None:
    config = tiny_trial(weights={"clean_epochs": 1}, optim={"lr": 1e-12}, epochs=1)
    found = start_of(config, tmp_path)
    start = CleanStart(model={name: v + 1 for name, v in found.model.items()}, seconds=7.0)

    (state,) = states(config, start)

    for name, value in state.model.items():
        torch.testing.assert_close(value, start.model[name], atol=1e-6, rtol=0)
    assert state.progress.start == "clean training, epochs=1"
    assert state.progress.train_seconds == 7.0 + state.progress.history[0].seconds


def test_a_clean_start_that_nobody_brought_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"weights\.clean_epochs needs the weights"):
        states(tiny_trial(weights={"clean_epochs": 1}))


def test_a_clean_start_on_files_is_the_same_whatever_the_trials_crop(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "images", per_class=3)
    starts: list[CleanStart] = []
    for scale in (1.0, 0.3):
        weights = {"clean_epochs": 1}
        config = stored_trial(path, weights=weights, augment={"crop_scale": scale}, seed=int(scale))
        found = clean_start(
            config,
            tmp_path / str(scale),
            recipe=stored_trial(path, augment={"crop_scale": 0.5}),
            load=load_train,
            group=alone(CPU),
            ask=lambda: Request.NOTHING,
        )
        starts.append(found)

    assert same(starts[0].model, starts[1].model)
