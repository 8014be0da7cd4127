"""Train, select and test: which images train, rank trials, and are read once at the end.

Select is held out of train; test comes from another source, the official validation images: a list
of them (trainers/data/lists.py), or some of each class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.source import Indices, Source
from trainers.data.subsets import by_class, draw_images, lowest

TEST_PER_CLASS = 5
"""Test images of each class where RobustBench's list is not at hand: as many in all, balanced."""


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """Disjoint; together all images of the chosen classes."""

    train: Indices
    select: Indices


def hold_out(source: Source, *, classes: Sequence[int], select_images: int, seed: int) -> Holdout:
    """Holds `select_images` out of `source`, in proportion to the images of each class.

    Comes before any subset of the training images is drawn, so that all of them share it.

    Raises:
        ValueError: If that leaves a class without training images.
    """
    groups = by_class(source, np.arange(len(source)), classes=classes)
    sizes = [len(members) for _, members in groups]
    if not 1 <= select_images < sum(sizes):
        raise ValueError(
            f"select_images must lie between 1 and {sum(sizes) - 1}, for {source.name} has "
            f"{sum(sizes)} images of these classes, got {select_images}"
        )
    quotas = largest_remainder(sizes, select_images)
    for (label, members), quota in zip(groups, quotas, strict=True):
        if quota >= len(members):
            raise ValueError(
                f"every class must keep a training image, and select_images={select_images} takes "
                f"all {len(members)} of class {source.classes[label]}; take fewer"
            )
    select = np.sort(
        np.concatenate(
            [
                lowest(source, members, quota, seed=seed, purpose="select")
                for (_, members), quota in zip(groups, quotas, strict=True)
            ]
        )
    )
    kept = np.isin(source.labels, np.array(classes))
    kept[select] = False
    return Holdout(train=np.flatnonzero(kept), select=select)


def largest_remainder(sizes: Sequence[int], total: int) -> list[int]:
    """Shares `total` in proportion to `sizes`: rounded down, the rest to the largest remainders.

    Of equal remainders the first comes first.
    """
    quotas, remainders = zip(*(divmod(size * total, sum(sizes)) for size in sizes), strict=True)
    shares = list(quotas)
    order = sorted(range(len(sizes)), key=lambda i: -remainders[i])
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares


def draw_test(source: Source, *, classes: Sequence[int], seed: int) -> Indices:
    """Draws `TEST_PER_CLASS` images of each of `classes` from the official validation images.

    Raises:
        ValueError: If a class has fewer.
    """
    pool = np.arange(len(source))
    for label, members in by_class(source, pool, classes=classes):
        if len(members) < TEST_PER_CLASS:
            raise ValueError(
                f"every class must have {TEST_PER_CLASS} test images, and {source.classes[label]} "
                f"of {source.name} has {len(members)}; add some, or train without this class"
            )
    return draw_images(
        source, pool, classes=classes, per_class=TEST_PER_CLASS, seed=seed, purpose="test"
    )
