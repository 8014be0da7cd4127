"""Which images make up an epoch: each once, shared, mixed with those of a second source."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from stored_factory import stored_trial
from trial_factory import tiny_trial

from trainers.config import TrialConfig
from trainers.data.images import Batch
from trainers.plan import plan_epoch


def plans(
    config: TrialConfig, images: int, epoch: int, workers: int, extra: int = 0
) -> list[list[Batch]]:
    return [
        plan_epoch(config, images=images, extra=extra, epoch=epoch, rank=rank, workers=workers)
        for rank in range(workers)
    ]


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(("images", "batch_size"), [(24, 8), (30, 8), (24, 24)])
def test_workers_see_disjoint_images_whose_union_is_the_epoch(
    images: int, batch_size: int, workers: int
) -> None:
    config = tiny_trial(batch_size=batch_size)
    orders: list[list[int]] = []
    for epoch in range(3):
        each = plans(config, images, epoch, workers)
        (alone,) = plans(config, images, epoch, 1)

        shared = [torch.cat([batch.index for batch in plan]).tolist() for plan in each]
        together = [torch.cat([batch.index for batch in step]) for step in zip(*each, strict=True)]
        seen = [place for places in shared for place in places]
        assert len(set(seen)) == len(seen) == images // batch_size * batch_size
        # Step by step they share the batch that one worker would have had.
        assert [b.tolist() for b in together] == [batch.index.tolist() for batch in alone]
        orders.append(torch.cat(together).tolist())

    assert orders[0] != orders[1] != orders[2] != orders[0]


def with_extra(share: float, batch_size: int = 8) -> TrialConfig:
    extra = {"source": "folder", "path": "/extra", "share": share}
    return stored_trial(Path("/nowhere"), data={"extra": extra}, batch_size=batch_size)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("share", "per_batch"), [(0.25, 2), (0.5, 4), (0.7, 6)])
def test_each_batch_has_its_share_of_extra_images_on_every_worker(
    share: float, per_batch: int, workers: int
) -> None:
    config = with_extra(share)
    each = plans(config, 24, 0, workers, extra=7)

    assert {len(plan) for plan in each} == {24 // (8 - per_batch)}
    for step in zip(*each, strict=True):
        counts = [int((batch.index >= 24).sum()) for batch in step]
        assert counts == [per_batch // workers] * workers
    own = torch.cat([batch.index[batch.index < 24] for plan in each for batch in plan])
    assert len(set(own.tolist())) == len(own)


def test_extra_images_come_all_before_one_comes_again() -> None:
    config = with_extra(0.5)
    seen: list[int] = []
    for epoch in range(4):
        (plan,) = plans(config, 24, epoch, 1, extra=9)
        seen += [i for batch in plan for i in batch.index.tolist() if i >= 24]

    turns = [seen[first : first + 9] for first in range(0, len(seen) // 9 * 9, 9)]
    assert len(turns) == 10
    assert all(sorted(turn) == list(range(24, 33)) for turn in turns)
    assert turns[0] != turns[1]


@pytest.mark.parametrize(("share", "images"), [(0.05, 0), (0.95, 8)])
def test_a_share_that_leaves_a_source_out_is_refused(share: float, images: int) -> None:
    with pytest.raises(ValidationError, match=rf"of batch_size \(8\) is {images} images, and must"):
        with_extra(share)
