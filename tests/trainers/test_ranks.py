"""Two workers on one batch take the steps of one worker."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from trial_factory import CHECK, random_images, tiny_trial

from trainers.checkpoint import TrainState, load_checkpoint, save_checkpoint
from trainers.loop import fit

# l2 and SGD, because a sign of zero and Adam's division turn a rounding error into a whole step.
CONFIG = tiny_trial(
    epochs=1,
    threat={"norm": "l2", "eps": 0.5},
    optim={"name": "sgd", "lr": 0.05, "warmup": 0.0},
    ema_horizon=0.5,
)


def train(rank: int, world_size: int) -> TrainState:
    (state,) = fit(
        CONFIG,
        images=random_images(40),
        rungs=(),
        evaluate=lambda _: CHECK,
        rank=rank,
        world_size=world_size,
        device=torch.device("cpu"),
        resume=None,
    )
    return state


def train_in_group(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    save_checkpoint(folder / str(rank), train(rank, 2))
    dist.destroy_process_group()


def test_two_workers_end_where_one_does(tmp_path: Path) -> None:
    alone = train(0, 1)

    mp.spawn(train_in_group, args=(tmp_path,), nprocs=2)  # pyright: ignore

    first, second = (load_checkpoint(tmp_path / rank, CONFIG) for rank in ("0", "1"))
    torch.testing.assert_close(first.model, second.model, rtol=0, atol=0)
    torch.testing.assert_close(first.model, alone.model, rtol=0, atol=1e-5)
    torch.testing.assert_close(first.ema, alone.ema, rtol=0, atol=1e-5)
    ours, theirs = alone.progress.history[0], first.progress.history[0]
    torch.testing.assert_close(theirs.train_loss, ours.train_loss, rtol=0, atol=1e-5)
    assert theirs.train_robust_accuracy == ours.train_robust_accuracy
    assert (theirs.check, second.progress.history[0].check) == (CHECK, None)
