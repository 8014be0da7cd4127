"""Two workers on one batch take the steps of one worker, whatever the step is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from base_trial import TIMM
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import TrainState, load_checkpoint, save_checkpoint
from trainers.config import TrialConfig
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
pytestmark = pytest.mark.slow
BATCH_NORM = {**TIMM, "name": "resnet10t"}


def config(name: str) -> TrialConfig:
    """The variant `name`; "batch norm" has a model with batch statistics."""
    trial = tiny_trial(**{**STEADY, **VARIANTS.get(name, {})})
    if name != "batch norm":
        return trial
    tree = trial.model_dump(mode="json")
    data = {**tree["data"], "resolution": 32}
    return TrialConfig.model_validate({**tree, "data": data, "model": BATCH_NORM, "epochs": 2})


def train(name: str, rank: int, world_size: int, resume: TrainState | None) -> list[TrainState]:
    """Five steps of eight images."""
    states = fit(
        config(name),
        images=random_images(40),
        rungs=(),
        evaluate=lambda _: CHECK,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        resume=resume,
        start=None,
    )
    return list(states)


def train_in_group(rank: int, folder: Path, name: str, resume: Path | None) -> None:
    """Saves the state after each epoch in folder/RANK-EPOCH; batch norm takes fewer steps."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    state = None if resume is None else load_checkpoint(resume, config(name))
    for after in fit(
        config(name),
        images=random_images(16 if name == "batch norm" else 40),
        rungs=(),
        evaluate=lambda _: CHECK,
        rank=rank,
        world_size=2,
        device=torch.device("cpu"),
        resume=state,
        start=None,
    ):
        save_checkpoint(folder / f"{rank}-{after.epoch}", after)
    dist.destroy_process_group()


def two_ranks(folder: Path, name: str, resume: Path | None = None) -> None:
    """Trains in two processes."""
    folder.mkdir(exist_ok=True)
    mp.spawn(train_in_group, args=(folder, name, resume), nprocs=2)  # pyright: ignore


@pytest.mark.parametrize("name", VARIANTS)
def test_two_workers_end_where_one_does(name: str, tmp_path: Path) -> None:
    (alone,) = train(name, 0, 1, None)

    two_ranks(tmp_path, name)

    first, second = (load_checkpoint(tmp_path / f"{rank}-1", config(name)) for rank in (0, 1))
    torch.testing.assert_close(first.model, second.model, rtol=0, atol=0)
    torch.testing.assert_close(first.model, alone.model, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.ema, alone.ema, rtol=0, atol=1e-5)
    ours, theirs = alone.progress.history[0], first.progress.history[0]
    torch.testing.assert_close(theirs.train_loss, ours.train_loss, rtol=0, atol=1e-5)
    assert theirs.train_accuracy == ours.train_accuracy
    assert (theirs.check, second.progress.history[0].check) == (CHECK, None)


def test_ranks_with_batch_norm_agree_and_resume_bit_by_bit(tmp_path: Path) -> None:
    two_ranks(tmp_path / "whole", "batch norm")
    two_ranks(tmp_path / "resumed", "batch norm", tmp_path / "whole" / "0-1")

    whole, other, resumed = (
        load_checkpoint(tmp_path / path, config("batch norm"))
        for path in ("whole/0-2", "whole/1-2", "resumed/0-2")
    )
    weights = [
        {name: value for name, value in state.model.items() if "running" not in name}
        for state in (whole, other)
    ]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    torch.testing.assert_close(resumed.model, whole.model, rtol=0, atol=0)
