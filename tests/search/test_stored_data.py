"""A search on images on disk: what is refused before it starts."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from ledger_factory import experiment
from stored_factory import stored_trial, write_folder

from search.config import ExperimentConfig
from search.errors import UserError
from search.plan.preflight import check_data
from trainers.data.config import StoredConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 4)


def on_disk(
    folder: Path,
    *,
    full: dict[str, Any] | None = None,
    space: dict[str, Any] | None = None,
    **data: Any,
) -> ExperimentConfig:
    fields = stored_trial(folder).data.model_dump(mode="json")
    fields |= {"resolution": 32, "test_path": str(folder), "train_images": 24} | data
    return experiment(
        **{
            "base.data": fields,
            "base.batch_size": 8,
            "space": space or {"attack.steps": {"int": [1, 2]}},
            "warm_start": [],
            "early_check.images": 12,
            "reference.images": 12,
            "promotion.overrides": full or {},
        }
    )


def test_images_that_are_there_are_accepted(folder: Path) -> None:
    check_data(on_disk(folder, full={"data.train_images": "all"}))


def extra(path: Path | str) -> dict[str, Any]:
    return {"source": "folder", "path": str(path), "share": 0.5}


def test_extra_images_are_looked_at_before_the_search(folder: Path, tmp_path: Path) -> None:
    made = write_folder(tmp_path / "made", 1)
    check_data(on_disk(folder, extra=extra(made), full={"data.extra.share": 0.75}))
    shutil.rmtree(made / "chelsea")

    words = "must have the classes of data.path by name, and lacks 1 of 12: chelsea"
    with pytest.raises(UserError, match=f"base.data: .*{words}"):
        check_data(on_disk(folder, extra=extra(made)))
    with pytest.raises(UserError, match=f"promotion.overrides: .*{words}"):
        check_data(on_disk(folder, full={"data.extra": extra(made)}))


def test_paths_of_images_are_made_absolute_wherever_a_user_writes_them(folder: Path) -> None:
    config = on_disk(
        folder,
        path="real",
        extra=extra("made"),
        full={"data.path": "all", "data.extra": extra("more")},
        space={
            "data.extra.path": {"choice": ["made", "more"]},
            "data.extra": {"choice": [extra("made")]},
        },
    )

    here = Path.cwd()
    data = config.base.data
    assert isinstance(data, StoredConfig)
    assert (data.path, data.extra.path) == (str(here / "real"), str(here / "made"))
    assert config.promotion.overrides == {
        "data.path": str(here / "all"),
        "data.extra": extra(here / "more"),
    }
    assert [axis.model_dump() for axis in config.space.values()] == [
        {"choice": (str(here / "made"), str(here / "more"))},
        {"choice": (extra(here / "made"),)},
    ]


@pytest.mark.parametrize(
    ("data", "full", "words"),
    [
        ({"path": "/nowhere"}, {}, "base.data: .*/nowhere"),
        ({"test_path": "/nowhere"}, {}, "base.data: data.test_path: there is nothing at /nowhere"),
        ({"source": "packed"}, {}, "base.data: "),
        ({"source": "parquet"}, {}, "base.data: "),
        ({"train_images": 120}, {}, r"base.data: images per class must lie between 1 and 3"),
        ({"select_images": 48}, {}, r"base.data: .*select_images"),
        ({"num_classes": 6}, {}, "base.data: classes=all needs num_classes=12"),
        ({"classes": "drawn", "num_classes": 24}, {}, "base.data: classes to draw must lie"),
        (
            {"classes": "imagenet100", "num_classes": 100, "train_images": 100},
            {},
            "base.data: ImageNet-100 is a subset of ImageNet's 1000 classes",
        ),
        ({}, {"data.train_images": 60}, r"promotion.overrides: images per class must lie"),
    ],
)
def test_images_that_are_not_there_are_refused_before_the_search(
    folder: Path, data: dict[str, Any], full: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check_data(on_disk(folder, full=full, **data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train_images": 25}, r"train_images \(25\) must be a multiple of num_classes \(12\)"),
        ({"classes": "imagenet100"}, "classes=imagenet100 needs num_classes=100, got 12"),
        ({"test_path": ""}, "source=folder needs the official validation images in test_path"),
        ({"source": "cifar10"}, "source=cifar10 brings its test images"),
        ({"source": "imagenet"}, "'imagenet'.*'photos', 'folder', 'packed'"),
        ({"max_bad": 2.0}, r"base\.data\.max_bad: .*less than or equal to 1"),
        ({"crop_share": 0.0}, r"base\.data\.crop_share: .*greater than 0"),
        ({"train_images": "some"}, r"base\.data\.train_images"),
        ({"extra": extra("")}, r"base\.data\.extra: source=folder needs the extra images in path"),
        ({"extra": {"source": "cifar10"}}, r"base\.data\.extra\.source: .*'none', 'folder'"),
    ],
)
def test_a_mistake_in_the_data_names_the_field(
    folder: Path, data: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        on_disk(folder, **data)
