"""A search on images on disk: what is refused before it starts."""

from pathlib import Path
from typing import Any

import pytest
from ledger_factory import experiment
from stored_factory import stored_trial, write_folder

from search.config import ExperimentConfig
from search.errors import UserError
from search.preflight import check_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("photos"), 4)


def on_disk(folder: Path, *, full: dict[str, Any] | None = None, **data: Any) -> ExperimentConfig:
    fields = stored_trial(folder).data.model_dump(mode="json")
    fields |= {"resolution": 32, "test_path": str(folder), "train_images": 24} | data
    return experiment(
        **{
            "base.data": fields,
            "base.batch_size": 8,
            "space": {"attack.steps": {"int": [1, 2]}},
            "warm_start": [],
            "early_check.images": 12,
            "reference.images": 12,
            "promotion.overrides": full or {},
        }
    )


def test_images_that_are_there_are_accepted(folder: Path) -> None:
    check_data(on_disk(folder, full={"data.train_images": "all"}))


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
    ],
)
def test_a_mistake_in_the_data_names_the_field(
    folder: Path, data: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        on_disk(folder, **data)
