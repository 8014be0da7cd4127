"""From the data fields of a trial to its splits, whatever the images are stored in."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from trainers.config import TrialConfig
from trainers.data import photos
from trainers.data.config import DataConfig, ExtraConfig, PhotosConfig, StoredConfig
from trainers.data.images import ImageSet
from trainers.data.lists import find_listed, read_ids, robustbench_list
from trainers.data.manifest import differences, read_manifest, write_manifest
from trainers.data.open import open_source
from trainers.data.source import Source, SourceKind
from trainers.data.splits import draw_test, hold_out
from trainers.data.stored import Stored, StoredImages, decode_all
from trainers.data.subsets import draw_classes, draw_images, imagenet_100, interleave

Images = ImageSet | StoredImages
"""Train images: in memory, or read ahead."""


def load_train(config: TrialConfig) -> Images:
    """Opens the train split of a trial.

    Raises:
        ValueError: If there are no such images, or fewer than asked for.
    """
    data = config.data
    if isinstance(data, PhotosConfig):
        return photos.load_split(data, "train")
    train = train_split(data)
    return StoredImages(
        train,
        extra=extra_split(data.extra, train) if data.extra_share else None,
        crop_scale=config.augment.crop_scale,
        crop_share=data.crop_share,
        seed=config.seed,
        max_bad=data.max_bad,
        loaders=config.compute.loaders,
    )


def load_held_out(
    data: DataConfig,
    split: Literal["select", "test"],
    *,
    threads: int,
    part: slice = slice(None),
) -> ImageSet:
    """Reads a split that training never sees into memory, or a part of it.

    Raises:
        ValueError: As `load_train`, and if an image is unreadable.
    """
    if isinstance(data, PhotosConfig):
        whole = photos.load_split(data, split)
        return ImageSet(images=whole.images[part], labels=whole.labels[part])
    stored = select_split(data) if split == "select" else test_split(data)
    stored = replace(stored, index=stored.index[part])
    return decode_all(stored, side=data.resolution, share=data.crop_share, threads=threads)


def write_manifests(data: DataConfig, folder: Path, *, key: str) -> None:
    """Writes which images train and rank to `folder/KEY-SPLIT.json`, unless it is there already.

    The embedded task has no files and needs no manifests; the test split is not opened.

    Args:
        key: Hash of the train images, with the extra ones, as a run's progress has it.

    Raises:
        ValueError: As `load_train`.
    """
    if isinstance(data, PhotosConfig) or any(folder.glob(f"{key}-train.json*")):
        return
    train = train_split(data)
    splits = {"select": select_split(data)}
    if data.extra_share:
        splits["extra"] = extra_split(data.extra, train)
    for name, split in {**splits, "train": train}.items():  # the one that is looked for comes last
        write_manifest(folder / f"{key}-{name}.json", split.manifest())


def changed_images(folder: Path, *, before: str, now: str) -> str:
    """Says what differs between the manifests of two keys; empty where there are none."""
    changes: list[str] = []
    for path in sorted(folder.glob(f"{before}-*.json*")):
        stem = path.name.partition(".")[0].replace(before, now)
        found = sorted(folder.glob(f"{stem}.json*"))  # compressed where there are many
        if found:
            split = stem.removeprefix(f"{now}-")
            changed = differences(read_manifest(path), read_manifest(found[0]))
            changes += [f"{split}: {changed}"] if changed else []
    return "; ".join(changes)


def train_split(data: StoredConfig) -> Stored:
    """Draws the train images: all that select leaves, or as many of each class."""
    source = _open(data, "train")
    classes = _classes(source, data)
    held = hold_out(source, classes=classes, select_images=data.select_images, seed=data.seed)
    index = held.train
    if data.train_images != "all":
        per_class = data.train_images // data.num_classes
        index = draw_images(
            source, index, classes=classes, per_class=per_class, seed=data.seed, purpose="train"
        )
    return Stored(source=source, index=index, classes=classes)


def select_split(data: StoredConfig) -> Stored:
    """Draws the images that rank trials out of the train source; every first n are balanced."""
    source = _open(data, "train")
    classes = _classes(source, data)
    held = hold_out(source, classes=classes, select_images=data.select_images, seed=data.seed)
    return Stored(source=source, index=interleave(source, held.select), classes=classes)


def extra_split(extra: ExtraConfig, train: Stored) -> Stored:
    """Takes all extra images of the classes that `train` has, found by name.

    Raises:
        ValueError: If a class or every image is missing, or a name stands for several classes.
    """
    assert extra.source != "none"
    source = open_source(extra.source, Path(extra.path))
    names = [train.source.classes[label] for label in train.classes]
    known = {name: label for label, name in enumerate(source.classes)}
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            "data.extra.path must have the classes of data.path by name, and lacks "
            f"{len(missing)} of {len(names)}: {', '.join(missing[:10])}; {source.name} has "
            f"{', '.join(source.classes[:10])}"
        )
    counts = Counter(train.source.classes), Counter(source.classes)
    if twice := [name for name in names if max(count[name] for count in counts) > 1]:
        raise ValueError(
            "extra images get their labels by the names of classes, and in data.path or "
            f"data.extra.path several are called {', '.join(twice[:10])}; rename them"
        )
    classes = tuple(known[name] for name in names)
    index = np.flatnonzero(np.isin(source.labels, np.array(classes)))
    if not len(index):
        raise ValueError(
            f"data.extra.path must have images of the classes that train, and {source.name} has "
            f"none of {', '.join(names[:10])}; set data.extra.source to none"
        )
    return Stored(source=source, index=index, classes=classes)


def test_split(data: StoredConfig) -> Stored:
    """Takes RobustBench's images out of the validation source, or 5 of each class.

    Raises:
        ValueError: If there are fewer than `test_images`.
    """
    source = _open(data, "test")
    classes = _classes(_open(data, "train"), data)
    _check_same_classes(source, _open(data, "train"), data)
    listed = robustbench_list()
    if listed is not None and len(source.classes) == 1000:
        index = find_listed(source, read_ids(listed), classes=classes)
    else:
        index = draw_test(source, classes=classes, seed=data.seed)
    index = interleave(source, index)
    if len(index) < data.test_images:
        raise ValueError(
            f"data.test_images ({data.test_images}) must not exceed the {len(index)} test images "
            f"of {source.name}"
        )
    return Stored(source=source, index=index[: data.test_images], classes=classes)


def _open(data: StoredConfig, split: Literal["train", "test"]) -> Source:
    if data.source in ("folder", "packed", "parquet"):
        path = data.path if split == "train" else data.test_path
        return open_source(data.source, Path(path))
    return open_source(cast(SourceKind, f"{data.source}-{split}"), Path(data.path))


def _classes(source: Source, data: StoredConfig) -> tuple[int, ...]:
    """Returns the classes of `source` that are kept, in the order of their labels."""
    if data.classes == "imagenet100":
        return imagenet_100(source)
    if data.classes == "drawn":
        return draw_classes(source, data.num_classes, seed=data.seed)
    if len(source.classes) != data.num_classes:
        raise ValueError(
            f"classes=all needs num_classes={len(source.classes)}, which {source.name} has, got "
            f"{data.num_classes}"
        )
    return tuple(range(len(source.classes)))


def _check_same_classes(test: Source, train: Source, data: StoredConfig) -> None:
    if test.classes != train.classes:
        differing = sorted(set(test.classes) ^ set(train.classes))
        raise ValueError(
            f"data.test_path must have the classes of data.path, and {len(differing)} differ, such "
            f"as {differing[:3]}; {data.test_path or data.path} has {len(test.classes)}"
        )
