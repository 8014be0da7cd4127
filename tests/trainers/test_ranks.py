"""Several workers on one batch take the steps of one worker, whatever the step is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from base_trial import TIMM
from process_group import run_group
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import TrainState, load_checkpoint, save_checkpoint
from trainers.config import TrialConfig
from trainers.group import Group
from trainers.loop import fit

# l2 and SGD, because a sign of zero and Adam's division turn a rounding error into a whole step.
STEADY: dict[str, Any] = {
    "epochs": 1,
    "threat": {"norm": "l2", "eps": 0.5},
    "optim": {"name": "sgd", "lr": 0.05, "warmup": 0.0},
    "ema_horizon": 0.5,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "apgd": {},
    "trades in parts": {"objective": {"name": "trades"}, "compute": {"accumulation": 2}},
    "average of two norms": {
        "attack": {"also": [{"norm": "l1", "eps": 4.0}], "union": "average", "fraction": 1.0}
    },
}
BATCH_NORM = {**TIMM, "name": "resnet10t"}


def config(name: str) -> TrialConfig:
    """The variant `name`; "batch norm" has a model with batch statistics."""
    trial = tiny_trial(**{**STEADY, **VARIANTS.get(name, {})})
    if name != "batch norm":
        return trial
    tree = trial.model_dump(mode="json")
    data = {**tree["data"], "resolution": 32}
    return TrialConfig.model_validate({**tree, "data": data, "model": BATCH_NORM, "epochs": 2})


def train(group: Group, folder: Path, name: str, resume: Path | None) -> None:
    """Five steps of eight images, saved after each epoch in folder/RANK; two with batch norm."""
    for state in fit(
        config(name),
        images=random_images(16 if name == "batch norm" else 40),
        rungs=(),
        evaluate=lambda _, __: CHECK,
        group=group,
        resume=None if resume is None else load_checkpoint(resume, config(name)),
        start=None,
    ):
        save_checkpoint(folder / str(group.rank), state)


def states(folder: Path, name: str, size: int, resume: Path | None = None) -> list[TrainState]:
    """Trains in `size` processes and returns the last state of each."""
    assert run_group(train, (folder, name, resume), store=folder / "store", size=size) == 0
    return [state_in(folder / str(rank), name) for rank in range(size)]


def state_in(folder: Path, name: str) -> TrainState:
    state = load_checkpoint(folder, config(name))
    assert state is not None
    return state


# Three share eight images unevenly.
@pytest.mark.parametrize(("name", "size"), [*((name, 2) for name in VARIANTS), ("apgd", 3)])
def test_workers_end_where_one_does(name: str, size: int, tmp_path: Path) -> None:
    for folder in ("alone", "together"):
        (tmp_path / folder).mkdir()
    (alone,) = states(tmp_path / "alone", name, 1)

    first, *others = states(tmp_path / "together", name, size)

    torch.testing.assert_close(first.model, alone.model, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.ema, alone.ema, rtol=0, atol=1e-5)
    ours, theirs = alone.progress.history[0], first.progress.history[0]
    torch.testing.assert_close(theirs.train_loss, ours.train_loss, rtol=0, atol=1e-5)
    assert theirs.train_accuracy == ours.train_accuracy
    assert theirs.check == CHECK
    for other in others:
        torch.testing.assert_close(other.model, first.model, rtol=0, atol=0)
        assert other.progress.history[0].check is None


def test_ranks_with_batch_norm_agree_and_resume_bit_by_bit(tmp_path: Path) -> None:
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    whole, other = states(tmp_path / "whole", "batch norm", 2)
    after_one = tmp_path / "whole" / "0" / "e00002-s000000.pt"
    after_one.unlink()
    resumed, _ = states(tmp_path / "resumed", "batch norm", 2, after_one.parent)

    weights = [
        {name: value for name, value in state.model.items() if "running" not in name}
        for state in (whole, other)
    ]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    torch.testing.assert_close(resumed.model, whole.model, rtol=0, atol=0)
