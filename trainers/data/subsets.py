"""Which classes, and which images of them: nested by construction.

Every class and every image has a random rank that depends on the seed and its own name alone, and
a subset takes the lowest. So the smaller of two subsets lies in the larger one, and an image that
is missing (unreadable, left out by packing) changes nothing for the others.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainers.data.source import Indices, Source

# fmt: off
IMAGENET_100 = (
    2, 12, 21, 29, 33, 43, 45, 47, 61, 68, 69, 79, 87, 101, 108, 128, 129, 165, 169, 173, 180, 204,
    214, 227, 233, 242, 252, 265, 268, 284, 292, 301, 311, 316, 323, 339, 343, 366, 372, 385, 392,
    408, 410, 414, 448, 481, 486, 495, 501, 510, 515, 544, 549, 553, 577, 586, 613, 616, 623, 624,
    644, 661, 677, 681, 682, 688, 698, 720, 725, 729, 737, 750, 752, 758, 763, 769, 776, 777, 789,
    798, 802, 809, 812, 822, 823, 826, 831, 869, 880, 888, 908, 909, 911, 912, 926, 931, 937, 938,
    947, 961,
)
# fmt: on
"""Class ids of ImageNet-100 among the 1000 classes of ImageNet in order of WordNet id.

Reproduced, not the authors' list: they drew 100 of the 1000 with JAX's PRNGKey(0) and published no
list. This is the draw of JAX before 0.5 (`jax_threefry_partitionable=False`); newer ones differ.
"""
_IMAGENET_100_SHA256 = "e719eb562ea7d833"
"""First digits of the hash of its WordNet ids, one per line."""


def imagenet_100(source: Source) -> tuple[int, ...]:
    """Returns `IMAGENET_100`, after checking that `source` has ImageNet's classes in their order.

    Raises:
        ValueError: If it has not; class names that are no WordNet ids are trusted.
    """
    if len(source.classes) != 1000:
        raise ValueError(
            f"ImageNet-100 is a subset of ImageNet's 1000 classes, and {source.name} has "
            f"{len(source.classes)}; take classes=all or drawn"
        )
    names = [source.classes[label] for label in IMAGENET_100]
    if all(name[:1] == "n" and name[1:].isdecimal() for name in names):
        found = hashlib.sha256("\n".join(names).encode()).hexdigest()
        if not found.startswith(_IMAGENET_100_SHA256):
            raise ValueError(
                f"ImageNet-100 needs ImageNet's classes in order of WordNet id, and those of "
                f"{source.name} are others, beginning with {source.classes[0]}"
            )
    return IMAGENET_100


def named_classes(source: Source, names: Sequence[str]) -> tuple[int, ...]:
    """Returns the labels of the classes `names`, in the source's order.

    Raises:
        ValueError: If there is no such class, or no name.
    """
    known = {name: label for label, name in enumerate(source.classes)}
    missing = [name for name in names if name not in known]
    if missing or not names:
        raise ValueError(
            f"classes must be some of those of {source.name}, got "
            f"{', '.join(missing[:10]) or 'none'}; it has "
            f"{', '.join(source.classes[:10])}{', ...' if len(known) > 10 else ''}"
        )
    return tuple(sorted({known[name] for name in names}))


def draw_classes(source: Source, count: int, *, seed: int) -> tuple[int, ...]:
    """Draws `count` classes, in the source's order; a larger draw holds the smaller.

    Raises:
        ValueError: If there are fewer.
    """
    if not 1 <= count <= len(source.classes):
        raise ValueError(
            f"classes to draw must lie between 1 and {len(source.classes)}, the classes of "
            f"{source.name}, got {count}"
        )
    ranks = rank(source.classes, seed=seed, purpose="classes")
    return tuple(sorted(np.argsort(ranks, kind="stable")[:count].tolist()))


def draw_images(
    source: Source,
    pool: Indices,
    *,
    classes: Sequence[int],
    per_class: int | Literal["all"],
    seed: int,
    purpose: str,
) -> Indices:
    """Draws `per_class` images of each of `classes` from `pool`, in the source's order.

    More images hold the fewer, and more classes hold the fewer, for one seed and purpose.

    Raises:
        ValueError: If a class has fewer images in `pool`.
    """
    chosen: list[Indices] = []
    for label, members in by_class(source, pool, classes=classes):
        if per_class != "all" and not 1 <= per_class <= len(members):
            raise ValueError(
                f"images per class must lie between 1 and {len(members)}, which class "
                f"{source.classes[label]} of {source.name} has to choose from, got {per_class}; "
                "take fewer, or 'all'"
            )
        if per_class == "all":
            chosen.append(members)
        else:
            chosen.append(lowest(source, members, per_class, seed=seed, purpose=purpose))
    return np.sort(np.concatenate(chosen))


def by_class(source: Source, pool: Indices, *, classes: Sequence[int]) -> list[tuple[int, Indices]]:
    """Sorts `pool` into `classes`; images of other classes drop out."""
    labels = source.labels[pool]
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], classes)
    ends = np.searchsorted(labels[order], classes, side="right")
    return [
        (label, pool[order[start:end]])
        for label, start, end in zip(classes, starts.tolist(), ends.tolist(), strict=True)
    ]


def interleave(source: Source, index: Indices) -> Indices:
    """Returns `index` in an order in which every beginning has the classes as evenly as can be."""
    labels = source.labels[index]
    turn = np.empty(len(index), np.int64)
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        turn[members] = np.arange(len(members))
    return index[np.lexsort((labels, turn))]


def lowest(source: Source, members: Indices, count: int, *, seed: int, purpose: str) -> Indices:
    """Returns the `count` images of `members` with the lowest rank."""
    ranks = rank(source.ids_at(members), seed=seed, purpose=purpose)
    return members[np.argsort(ranks, kind="stable")[:count]]


def rank(names: Iterable[str], *, seed: int, purpose: str) -> npt.NDArray[np.uint64]:
    """Returns a random number for each name; other seeds and purposes give independent ones."""
    keyed = hashlib.blake2b(digest_size=8, key=f"{purpose} {seed}".encode())
    numbers: list[int] = []
    for name in names:
        digest = keyed.copy()
        digest.update(name.encode())
        numbers.append(int.from_bytes(digest.digest(), "little"))
    return np.array(numbers, np.uint64)
