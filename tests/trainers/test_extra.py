"""A second source of images, mixed into each batch: which they are, and under which labels."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import break_files, make_folder, make_parquet, pack_quietly
from stored_factory import stored_trial, tensors

from trainers.config import TrialConfig
from trainers.data.config import StoredConfig
from trainers.data.decode import read_whole
from trainers.data.folder import Files, open_folder
from trainers.data.images import Batch
from trainers.data.load import Images, extra_split, load_train, train_split
from trainers.data.stored import Stored, centre_crop

SIDE = 16
CLASSES = ("ant", "bee", "cat")
EXTRA_CLASSES = ("zebra", "cat", "ant", "bee")
"""Other labels than the train images', and a class that does not train."""


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(
        tmp_path_factory.mktemp("train") / "real", classes=CLASSES, per_class=4, side=24
    ).root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("extra") / "made"
    return make_folder(folder, classes=EXTRA_CLASSES, per_class=5, side=28).root


def trial(
    train: Path, source: str, extra: Path | str, *, share: float, **changes: Any
) -> TrialConfig:
    data = {
        "num_classes": len(CLASSES),
        "select_images": len(CLASSES),
        "extra": {"source": source, "path": str(extra), "share": share},
        **changes.pop("data", {}),
    }
    return stored_trial(train, data=data, **changes)


def mixed(train: Path, made: Path, **changes: Any) -> TrialConfig:
    return trial(train, "folder", made, share=0.7, **changes)


def read_all(images: Images, *, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    index = torch.arange(len(images) + images.extra)
    ((pixels, labels),) = images.stream([Batch(index=index, side=SIDE)], epoch=epoch)
    return pixels, labels


def extra_of(config: TrialConfig) -> Stored:
    assert isinstance(config.data, StoredConfig)
    return extra_split(config.data.extra, train_split(config.data))


def as_folder(source: Files, dest: Path) -> None:
    source.root.rename(dest)


def as_packed(source: Files, dest: Path) -> None:
    pack_quietly(source, dest, max_side=100)


def as_parquet(source: Files, dest: Path) -> None:
    make_parquet(dest / "train.parquet", source, rows=range(len(source)), group=3)


FORMS: dict[str, Callable[[Files, Path], None]] = {
    "folder": as_folder,
    "packed": as_packed,
    "parquet": as_parquet,
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_go_by_the_names_of_classes(train: Path, tmp_path: Path, form: str) -> None:
    sorted_by_name = make_folder(tmp_path / "x", classes=EXTRA_CLASSES, per_class=5, side=8)
    numbers = [EXTRA_CLASSES.index(name) for name in sorted_by_name.classes]
    source = Files(
        name="unsorted",
        root=sorted_by_name.root,
        classes=EXTRA_CLASSES,
        labels=np.array(numbers)[sorted_by_name.labels],
        ids=sorted_by_name.ids,
    )
    FORMS[form](source, tmp_path / form)

    stored = extra_of(trial(train, form, tmp_path / form, share=0.5))

    named = [text.split("/")[0] for text in stored.source.ids_at(stored.index)]
    assert [CLASSES[label] for label in stored.labels.tolist()] == named
    assert sorted(named) == sorted(5 * CLASSES)


def test_two_classes_of_one_name_are_no_matter_where_they_do_not_train(
    train: Path, tmp_path: Path
) -> None:
    made = rename_classes(tmp_path, ("dog", *CLASSES, "dog"), (0, 1, 2, 3, 4))

    stored = extra_of(trial(train, "parquet", made, share=0.5))

    assert stored.labels.tolist() == [0, 1, 2]
    assert stored.index.tolist() == [1, 2, 3]


def test_only_classes_that_train_are_taken_where_they_are_drawn(train: Path, made: Path) -> None:
    config = mixed(train, made, data={"classes": "drawn", "num_classes": 2, "seed": 1})
    assert isinstance(config.data, StoredConfig)
    split = train_split(config.data)
    kept = [split.source.classes[label] for label in split.classes]
    assert kept != list(CLASSES[:2])  # or the numbers would do

    stored = extra_of(config)

    named = [text.split("/")[0] for text in stored.source.ids_at(stored.index)]
    assert [kept[label] for label in stored.labels.tolist()] == named
    assert len(named) == 2 * 5


def test_extra_images_come_after_the_train_images_as_their_source_has_them(
    train: Path, made: Path
) -> None:
    alone = tensors(load_train(trial(train, "none", "", share=0)))
    source = open_folder(made)
    wanted = [i for i, text in enumerate(source.ids) if not text.startswith("zebra")]

    images = load_train(mixed(train, made))
    pixels, labels = read_all(images)

    assert (len(images), images.extra) == (9, 15)
    assert torch.equal(pixels[:9], alone)
    for i, place in enumerate(wanted, 9):
        _, image = read_whole(source, place)
        assert torch.equal(pixels[i], centre_crop(image, side=SIDE, share=1.0))
        assert CLASSES[int(labels[i])] == source.classes[source.labels[place]]


def test_extra_images_leave_the_random_crops_of_train_images_as_they_are(
    train: Path, made: Path
) -> None:
    crops = {"augment": {"crop_scale": 0.3}}
    alone = tensors(load_train(trial(train, "none", "", share=0, **crops)), epoch=2)

    images = load_train(mixed(train, made, **crops))
    pixels, _ = read_all(images, epoch=2)
    backwards = torch.arange(24).flip(0)
    ((again, _),) = images.stream([Batch(index=backwards, side=SIDE)], epoch=2)

    assert torch.equal(pixels[:9], alone)
    assert torch.equal(again, pixels.flip(0))


@pytest.mark.slow
def test_reading_processes_change_nothing_of_extra_images(train: Path, made: Path) -> None:
    crops = {"augment": {"crop_scale": 0.3}}
    here = load_train(mixed(train, made, **crops))
    ahead = load_train(mixed(train, made, compute={"loaders": 2}, **crops))

    for mine, theirs in zip(read_all(here), read_all(ahead), strict=True):
        assert torch.equal(mine, theirs)


def test_an_unreadable_extra_image_is_replaced_by_an_extra_one_of_its_class(
    train: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_folder(tmp_path / "made", classes=CLASSES, per_class=5, side=28)
    config = mixed(train, made.root, data={"max_bad": 0.125})
    images = load_train(config)
    before, labels = read_all(images)
    broken = break_files(made)

    with caplog.at_level(logging.WARNING):
        after, labels_after = read_all(images)

    lines = [record.getMessage() for record in caplog.records]
    for place, line in zip(broken, lines, strict=True):
        (instead,) = [i for i in range(24) if torch.equal(after[9 + place], before[i])]
        assert instead >= 9
        assert labels[instead] == labels[9 + place]
        bad, good = made.ids[place], made.ids[instead - 9]
        assert line == f"unreadable image={bad} replaced by={good}"
    assert torch.equal(labels, labels_after)
    whole = [i for i in range(24) if i - 9 not in broken]
    assert torch.equal(after[whole], before[whole])


def test_unreadable_images_are_counted_over_train_and_extra_images(
    train: Path, tmp_path: Path
) -> None:
    made = make_folder(tmp_path / "made", classes=CLASSES, per_class=5, side=28)
    enough, too_few = (
        load_train(mixed(train, made.root, data={"max_bad": bad / 24})) for bad in (3, 2.9)
    )
    break_files(made)

    read_all(enough)
    with pytest.raises(ValueError, match=r"3 of 24 train and extra images are unreadable"):
        read_all(too_few)


def test_the_last_image_that_can_be_read_stands_in_for_the_others(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "two", classes=("ant", "bee"), per_class=2, side=24)
    data = {"num_classes": 2, "select_images": 2, "max_bad": 0.5}
    config = trial(folder.root, "none", "", share=0, data=data)
    assert isinstance(config.data, StoredConfig)
    split = train_split(config.data)
    before = tensors(load_train(config))
    (folder.root / split.source.ids_at(split.index)[0]).write_bytes(b"")

    after = tensors(load_train(config))

    assert torch.equal(after, before[[1, 1]])


def test_the_hash_covers_both_sources_and_is_the_train_split_s_where_there_is_one(
    train: Path, made: Path, tmp_path: Path
) -> None:
    alone = trial(train, "none", "", share=0)
    assert isinstance(alone.data, StoredConfig)
    fewer = make_folder(tmp_path / "made", classes=EXTRA_CLASSES, per_class=4, side=28)

    hashes = [
        load_train(config).hash for config in (alone, mixed(train, made), mixed(train, fewer.root))
    ]

    assert hashes[0] == train_split(alone.data).hash
    assert len(set(hashes)) == 3
    assert {len(text) for text in hashes} == {12}
    assert load_train(trial(train, "folder", made, share=0.2)).hash == hashes[1]


def test_a_share_of_0_is_as_no_extra_source(train: Path) -> None:
    images = load_train(trial(train, "folder", "/not/there", share=0))

    assert images.extra == 0
    assert images.hash == load_train(trial(train, "none", "", share=0)).hash


def with_one(folder: Path, classes: tuple[str, ...]) -> Path:
    return make_folder(folder, classes=classes, per_class=1, side=8).root


def rename_classes(folder: Path, classes: tuple[str, ...], used: tuple[int, ...]) -> Path:
    """Writes one image of each of the classes at `used`, in a set that lists all of `classes`."""
    files = open_folder(with_one(folder / "files", tuple(f"f{i}" for i in used)))
    source = Files(
        name="renamed", root=files.root, classes=classes, labels=np.array(used), ids=files.ids
    )
    make_parquet(folder / "set" / "x.parquet", source, rows=range(len(used)), group=1)
    return folder / "set"


BAD_SOURCES: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "not there": ("packed", lambda folder: folder / "x", "a packed data set is a folder"),
    "classes are missing": (
        "folder",
        lambda folder: with_one(folder / "x", ("bee", "dog")),
        "must have the classes of data.path by name, and lacks 2 of 3: ant, cat; folder .*/x has "
        "bee, dog",
    ),
    "no image of them": (
        "parquet",
        lambda folder: rename_classes(folder, (*CLASSES, "dog"), (3,)),
        "must have images of the classes that train, and parquet .* has none of ant, bee, cat; set",
    ),
    "a name twice": (
        "parquet",
        lambda folder: rename_classes(folder, ("bee", *CLASSES), (0, 1, 2, 3)),
        "by the names of classes, and in data.path or data.extra.path several are called bee;",
    ),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_extra_images_without_the_classes_of_training_are_refused(
    train: Path, tmp_path: Path, name: str
) -> None:
    form, make, message = BAD_SOURCES[name]
    config = trial(train, form, make(tmp_path), share=0.5)

    with pytest.raises(ValueError, match=message):
        load_train(config)
