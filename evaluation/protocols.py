"""Evaluation protocols by name: threat model, attack, and which images. Light: no torch.

`lists/robustbench.txt` has the number and the label of RobustBench's 5000 validation images of
ImageNet, `lists/imagenet_classes.txt` the WordNet ids of the 1000 classes in their order.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainers.data.config import DataConfig, PhotosConfig
from trainers.data.lists import find_listed
from trainers.data.source import Indices, Labels, Source
from trainers.threat import ThreatModel

TRAINED = "trained"
_LISTS = Path(__file__).with_name("lists")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a published number stands for, besides the model."""

    name: str
    threat: ThreatModel
    version: Literal["standard"]
    """Of AutoAttack."""
    images: Literal["robustbench", "test"]
    """RobustBench's list in its order, or the checkpoint's own test split."""
    n: int
    """Images, from the first on."""


def _on_robustbench(
    name: str, norm: Literal["linf", "l2", "l1"], eps: float
) -> tuple[str, Protocol]:
    threat = ThreatModel(norm=norm, eps=eps)
    protocol = Protocol(name=name, threat=threat, version="standard", images="robustbench", n=5000)
    return name, protocol


PUBLISHED: dict[str, Protocol] = dict(
    [
        _on_robustbench("robustbench-linf", "linf", 4 / 255),
        _on_robustbench("robustbench-l2", "l2", 2.0),
        _on_robustbench("robustbench-l1", "l1", 75.0),
        _on_robustbench("8/255", "linf", 8 / 255),
    ]
)
"""`robustbench-linf` is the leaderboard's (Croce et al. 2021, arXiv:2010.09670). It has none for l2
and l1 on ImageNet: those radii, on the same images, are those of Singh et al. 2023
(arXiv:2303.01870), who also published weights trained at linf 8/255."""
NAMES = (*PUBLISHED, TRAINED)


def named_protocol(name: str, *, trained_threat: ThreatModel, test_images: int) -> Protocol:
    """Returns the protocol `name`, one of `NAMES`.

    Args:
        trained_threat: The checkpoint's, for `trained`.
        test_images: Size of the checkpoint's test split, for `trained`.

    Raises:
        ValueError: If there is no such protocol.
    """
    if name == TRAINED:
        return Protocol(
            name=name, threat=trained_threat, version="standard", images="test", n=test_images
        )
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a protocol must be one of {', '.join(NAMES)}, got {name!r}{hint}")
    return PUBLISHED[name]


def robustbench_ids() -> tuple[str, ...]:
    """Returns RobustBench's 5000 images as CLASS/ILSVRC2012_val_NUMBER.JPEG, in its order.

    They are of 997 classes, 1 to 12 each, and in no order of class: the first n are no balanced n.
    """
    classes = imagenet_classes()
    rows = (line.split() for line in _read_lines("robustbench.txt"))
    return tuple(
        f"{classes[int(label)]}/ILSVRC2012_val_{int(number):08d}.JPEG" for number, label in rows
    )


def imagenet_labels(ids: Sequence[str]) -> Labels:
    """Returns the label among ImageNet's 1000 of each of `robustbench_ids()`, or of some of them.

    Labels of a source that has images of fewer classes are others.
    """
    known = {name: label for label, name in enumerate(imagenet_classes())}
    return np.array([known[text.partition("/")[0]] for text in ids], np.int64)


def imagenet_classes() -> tuple[str, ...]:
    """Returns the WordNet ids of ImageNet's 1000 classes; label k is the k-th."""
    return tuple(_read_lines("imagenet_classes.txt"))


def find_robustbench(source: Source, ids: Sequence[str]) -> Indices:
    """Returns the places of `ids` in ImageNet's validation images, in the order of `ids`.

    Images are found by the number in their names, whatever the folders are called; their labels
    are `imagenet_labels(ids)`.

    Args:
        ids: `robustbench_ids()`, or the beginning of it.

    Raises:
        ValueError: If `source` lacks some, or has them in other classes than ImageNet has.
    """
    try:
        index = find_listed(source, ids, classes=range(len(source.classes)))
    except ValueError as error:
        raise ValueError(
            f"{error}; RobustBench's images are found by their numbers: name a folder, packed set "
            "or parquet shards of ImageNet's validation images that keep the names "
            "ILSVRC2012_val_NUMBER.JPEG"
        ) from error
    _check_labels(source, index, ids)
    return index


def check_robustbench_model(data: DataConfig) -> None:
    """Raises ValueError if a model trained on `data` cannot tell ImageNet's 1000 classes apart."""
    if isinstance(data, PhotosConfig) or data.source not in ("folder", "packed", "parquet"):
        came = f"data.source={data.source}"
    elif data.classes != "all" or data.num_classes != len(imagenet_classes()):
        came = f"data.classes={data.classes} with {data.num_classes} classes"
    else:
        return
    raise ValueError(
        f"RobustBench's images need a model of all 1000 classes of ImageNet, and the checkpoint "
        f"was trained with {came}; take the protocol {TRAINED}, or another checkpoint"
    )


def _check_labels(source: Source, index: Indices, ids: Sequence[str]) -> None:
    known = imagenet_classes()
    has_wordnet_ids = set(source.classes) <= set(known)
    if not has_wordnet_ids and len(source.classes) != len(known):
        raise ValueError(
            f"RobustBench's images need ImageNet's classes, and {source.name} has "
            f"{len(source.classes)}, such as {source.classes[0]}; keep the folders of WordNet ids, "
            "or all 1000 classes in their order"
        )
    # Other names, such as Hugging Face's words, say nothing: then the order has to be right.
    names = np.array(source.classes if has_wordnet_ids else known)
    found, expected = names[source.labels[index]], np.array(known)[imagenet_labels(ids)]
    wrong: list[int] = np.flatnonzero(found != expected).tolist()
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"listed images must have ImageNet's labels, and {len(wrong)} of {len(ids)} in "
            f"{source.name} have others: {ids[first]} is of {found[first]} there; bring the "
            "classes into the order of their WordNet ids"
        )


def _read_lines(name: str) -> list[str]:
    lines = (_LISTS / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]
