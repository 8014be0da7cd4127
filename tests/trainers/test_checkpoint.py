"""Checkpoints: what is saved comes back, and what is not whole is refused."""

import json
from pathlib import Path

import pytest
import torch
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import (
    FILE,
    TrainState,
    has_checkpoint,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from trainers.config import TrialConfig
from trainers.loop import fit


def state_after_one_epoch(config: TrialConfig) -> TrainState:
    return next(
        iter(
            fit(
                config,
                images=random_images(24),
                rungs=(),
                evaluate=lambda _: CHECK,
                rank=0,
                world_size=1,
                device=torch.device("cpu"),
                resume=None,
                start=None,
            )
        )
    )


@pytest.mark.parametrize("ema_horizon", [0.0, 0.5])
def test_a_state_comes_back_as_it_was(ema_horizon: float, tmp_path: Path) -> None:
    config = tiny_trial(ema_horizon=ema_horizon)
    state = state_after_one_epoch(config)

    save_checkpoint(tmp_path / "new", state)
    loaded = load_checkpoint(tmp_path / "new", config)

    assert [path.name for path in (tmp_path / "new").iterdir()] == [FILE]
    assert (loaded.config, loaded.epoch, loaded.progress) == (config, 1, state.progress)
    torch.testing.assert_close(loaded.model, dict(state.model), rtol=0, atol=0)
    torch.testing.assert_close(loaded.optimizer, state.optimizer, rtol=0, atol=0)
    assert (loaded.ema is None) == (ema_horizon == 0)


@pytest.mark.parametrize("ema_horizon", [0.0, 0.5])
def test_load_model_gives_the_scored_weights(ema_horizon: float, tmp_path: Path) -> None:
    state = state_after_one_epoch(tiny_trial(ema_horizon=ema_horizon))
    save_checkpoint(tmp_path, state)

    config, model = load_model(tmp_path)

    weight = model.state_dict()["network.head.fc.weight"]
    name, source = "network.head.fc.weight", state.model
    if state.ema is not None:
        name, source = f"averaged.{name}", state.ema
    assert config == state.config
    assert not any(module.training for module in model.modules())
    assert torch.equal(weight, source[name])


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    assert not has_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at .*{FILE}"):
        load_checkpoint(tmp_path, tiny_trial())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(share: float, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state_after_one_epoch(tiny_trial()))
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: int(share * len(content))])

    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        load_checkpoint(tmp_path, tiny_trial())


def test_a_file_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / FILE)

    with pytest.raises(ValueError, match="it lacks 'config'"):
        load_checkpoint(tmp_path, tiny_trial())


def test_another_config_is_refused_with_the_differing_paths(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state_after_one_epoch(tiny_trial()))
    other = tiny_trial(optim={"lr": 2e-3}, seed=6)

    with pytest.raises(
        ValueError, match=r"another config: optim.lr is 0.001 there, 0.002 here; seed is 5 there"
    ):
        load_checkpoint(tmp_path, other)


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    state = state_after_one_epoch(tiny_trial())
    save_checkpoint(tmp_path, state)
    (tmp_path / f"{FILE}.tmp").write_bytes(b"half of a checkpoint")

    assert load_checkpoint(tmp_path, tiny_trial()).epoch == 1


def test_a_checkpoint_of_an_earlier_version_says_which_fields_differ(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state_after_one_epoch(tiny_trial()))
    content = torch.load(tmp_path / FILE, weights_only=True)
    tree = json.loads(content["config"])
    del tree["freeze"]
    torch.save({**content, "config": json.dumps(tree)}, tmp_path / FILE)

    with pytest.raises(ValueError, match=r"version whose configs differ in freeze; evaluate it"):
        load_model(tmp_path)
