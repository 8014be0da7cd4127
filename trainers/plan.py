"""Which images make up each batch of an epoch, and which of them one worker gets.

The order depends on (seed, epoch) alone, so that a run goes on in the middle of an epoch, and on
another number of workers, with the very batches that were left.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from trainers.config import TrialConfig, shares
from trainers.data.images import Batch
from trainers.schedules import resolution_at


def steps_per_epoch(config: TrialConfig, images: int) -> int:
    """Returns how many whole batches `images` train images fill, with what `data.extra` adds."""
    return images // (config.batch_size - extra_per_batch(config))


def extra_per_batch(config: TrialConfig) -> int:
    """Returns the images of each batch that come from the second source."""
    return round(config.data.extra_share * config.batch_size)


def plan_epoch(
    config: TrialConfig, *, images: int, extra: int, epoch: int, rank: int, workers: int
) -> list[Batch]:
    """Returns one worker's share of each batch.

    Each train image comes once, on one worker, but for those that do not fill a batch: they sit
    this epoch out, others the next. Extra images go on from epoch to epoch, in a new order each
    time they are through, and are spread evenly over the batch.

    Args:
        images: Of the train split: places 0 to `images` - 1 of a `Batch`.
        extra: Of the second source: the places after them.
        epoch: From 0.
    """
    order = _shuffled(images, config.seed, epoch, purpose=0)
    per_batch, steps = extra_per_batch(config), steps_per_epoch(config, images)
    extras = _extras(config, images=images, extra=extra, first=epoch * steps * per_batch)
    own = config.batch_size - per_batch
    is_extra = torch.zeros(config.batch_size, dtype=torch.bool)
    is_extra[[(2 * i + 1) * config.batch_size // (2 * per_batch) for i in range(per_batch)]] = True
    sizes = shares(config, workers)
    mine = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    batches: list[Batch] = []
    for step in range(steps):
        whole = torch.empty(config.batch_size, dtype=torch.int64)
        whole[~is_extra] = order[step * own : (step + 1) * own]
        whole[is_extra] = torch.tensor([next(extras) for _ in range(per_batch)], dtype=torch.int64)
        side = resolution_at(
            (epoch + step / steps) / config.epochs,
            config.resolution_schedule,
            resolution=config.data.resolution,
        )
        batches.append(Batch(index=whole[mine], side=side))
    return batches


def _extras(config: TrialConfig, *, images: int, extra: int, first: int) -> Iterator[int]:
    """Yields the places of extra images without end, from the `first` that training uses."""
    while extra:
        order = _shuffled(extra, config.seed, first // extra, purpose=2)
        for place in order[first % extra :].tolist():
            yield images + place
            first += 1


def _shuffled(count: int, seed: int, turn: int, *, purpose: int) -> Int64[Tensor, " count"]:
    word = np.random.SeedSequence((seed, turn), spawn_key=(purpose,)).generate_state(1)
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(word[0])))
