"""Protocols by name, and RobustBench's images in a folder, a packed set and parquet shards."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from base_trial import base_trial
from PIL import Image
from repository import ROOT
from stored_factory import stored_trial

from evaluation.crop import centre_crop, read_images
from evaluation.protocols import (
    NAMES,
    check_robustbench_model,
    find_robustbench,
    imagenet_classes,
    imagenet_labels,
    named_protocol,
    robustbench_ids,
)
from trainers.config import TrialConfig
from trainers.data.folder import open_folder
from trainers.data.open import open_source
from trainers.data.pack import pack
from trainers.data.source import Source
from trainers.data.subsets import IMAGENET_100, imagenet_100
from trainers.threat import ThreatModel

TRAINED = ThreatModel(norm="l2", eps=0.5)
IDS = robustbench_ids()
CLASSES = imagenet_classes()
LABELS = [CLASSES.index(name.partition("/")[0]) for name in IDS]
WORDS = [f"word {label}" for label in range(1000)]


class Listed(Source):
    """Ids and labels without files."""

    def __init__(self, ids: Sequence[str], labels: Sequence[int], classes: Sequence[str]) -> None:
        self.name = "listed"
        self.ids = tuple(ids)
        self.labels = np.array(labels, np.int64)
        self.classes = tuple(classes)

    def read(self, index: int) -> bytes:
        raise FileNotFoundError(self.ids[index])

    def checksum(self, index: int) -> int | None:
        return None


def test_the_list_is_that_of_robustbench() -> None:
    """The digest is of RobustBench 1.1.1's helper_files/imagenet_test_image_ids.txt."""
    digest = hashlib.sha256("\n".join(IDS).encode()).hexdigest()

    assert digest == "d4121626d07722a0126c35b1563042e46a546f1a05ce705f2cdc635896d58574"


def test_the_list_has_5000_images_of_997_classes() -> None:
    """Also counted by others: 510 of them are of ImageNet-100's classes."""
    sizes = Counter(name.partition("/")[0] for name in IDS)

    assert (len(set(IDS)), len(sizes), min(sizes.values()), max(sizes.values())) == (
        5000,
        997,
        1,
        12,
    )
    assert sum(sizes[CLASSES[label]] for label in IMAGENET_100) == 510


def test_labels_are_those_of_the_classes_in_the_ids() -> None:
    assert imagenet_labels(IDS).tolist() == LABELS


def test_the_classes_are_imagenets_in_their_order() -> None:
    assert list(CLASSES) == sorted(set(CLASSES))
    assert imagenet_100(Listed([], [], CLASSES)) == IMAGENET_100


@pytest.mark.parametrize(
    ("name", "norm", "eps", "images", "n"),
    [
        ("robustbench-linf", "linf", "4/255", "robustbench", 5000),
        ("robustbench-l2", "l2", 2, "robustbench", 5000),
        ("robustbench-l1", "l1", 75, "robustbench", 5000),
        ("8/255", "linf", "8/255", "robustbench", 5000),
        ("trained", "l2", 0.5, "test", 24),
    ],
)
def test_a_name_says_all_but_the_model(name: str, norm: str, eps: Any, images: str, n: int) -> None:
    protocol = named_protocol(name, trained_threat=TRAINED, test_images=24)

    assert protocol.threat == ThreatModel.model_validate({"norm": norm, "eps": eps})
    assert (protocol.version, protocol.images, protocol.n) == ("standard", images, n)
    assert protocol.name == name
    assert name in NAMES


@pytest.mark.parametrize(
    ("name", "hint"),
    [("robustbench-li", "; did you mean 'robustbench-linf'?"), ("linf 3", "'linf 3'$")],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, hint: str) -> None:
    words = f"one of robustbench-linf, robustbench-l2, robustbench-l1, 8/255, trained, got .*{hint}"
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        named_protocol(name, trained_threat=TRAINED, test_images=24)


def test_protocols_are_free_of_torch() -> None:
    code = "import sys, evaluation.protocols; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def write_validation(root: Path, ids: Sequence[str]) -> Source:
    """Writes images of one grey each under the names of `ids`, and one that is on no list."""
    for grey, name in enumerate([*ids, f"{CLASSES[0]}/ILSVRC2012_val_00050001.JPEG"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 8), (20 * grey,) * 3).save(root / name)
    return open_folder(root)


def as_folder(folder: Source, path: Path) -> Source:
    del path
    return folder


def as_packed(folder: Source, path: Path) -> Source:
    pack(
        folder, path / "packed", max_side=64, quality=90, max_bad=0.0, workers=1,
        on_progress=lambda done, images: None,
    )  # fmt: skip
    return open_source("packed", path / "packed")


def as_parquet(folder: Source, path: Path) -> Source:
    """As Hugging Face has it: without folders, and with words for names of classes."""
    order = [*range(1, len(folder), 2), *range(0, len(folder), 2)]
    images = [{"bytes": folder.read(i), "path": folder.ids[i].partition("/")[2]} for i in order]
    labels = [CLASSES.index(folder.classes[folder.labels[i]]) for i in order]
    names = {"info": {"features": {"label": {"names": WORDS}}}}
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, path / "shard.parquet", row_group_size=2)
    return open_source("parquet", path / "shard.parquet")


@pytest.mark.parametrize("kind", [as_folder, as_packed, as_parquet])
def test_listed_images_are_found_in_the_order_of_the_list(
    kind: Callable[[Source, Path], Source], tmp_path: Path
) -> None:
    folder = write_validation(tmp_path / "val", IDS[:7])
    source = kind(folder, tmp_path)

    index = find_robustbench(source, IDS[:7])

    crop, labels = centre_crop(side=8, share=1.0), imagenet_labels(IDS[:7])
    images = read_images(source, index, crop, labels=labels, threads=2)
    assert images.images.float().mean(dim=(1, 2, 3)).round().tolist() == [20 * i for i in range(7)]
    assert images.labels.tolist() == LABELS[:7]


def hugging_face(labels: list[int], classes: list[str]) -> Listed:
    """All 5000 and one more, in another order, named as Hugging Face names them."""
    names = [name.partition("/") for name in IDS]
    ids = [f"{file.removesuffix('.JPEG')}_{wnid}.JPEG" for wnid, _, file in names]
    return Listed(["ILSVRC2012_val_00050001.JPEG", *ids[::-1]], [0, *labels[::-1]], classes)


def test_all_5000_are_found_where_classes_have_words_for_names() -> None:
    source = hugging_face(LABELS, WORDS)

    index = find_robustbench(source, IDS)

    assert index.tolist() == list(range(5000, 0, -1))
    assert source.labels[index].tolist() == LABELS


def without_names(path: Path) -> object:
    return find_robustbench(Listed(["a/0.jpg", "a/1.jpg"], [0, 0], ["a"]), IDS)


def with_one_missing(path: Path) -> object:
    return find_robustbench(write_validation(path, IDS[:3]), IDS[:4])


def with_other_labels(path: Path) -> object:
    return find_robustbench(hugging_face([(k + 1) % 1000 for k in LABELS], WORDS), IDS)


def with_swapped_folders(path: Path) -> object:
    first, second = (name.partition("/") for name in IDS[:2])
    swapped = (first[0] + "/" + second[2], second[0] + "/" + first[2])
    return find_robustbench(write_validation(path, swapped), IDS[:2])


def with_classes_of_its_own(path: Path) -> object:
    return find_robustbench(Listed(list(IDS[:2]), [0, 1], ["cat", "dog"]), IDS[:2])


def trained_on_photos(path: Path) -> object:
    check_robustbench_model(TrialConfig.model_validate(base_trial()).data)
    return None


def trained_on_cifar(path: Path) -> object:
    data = {"source": "cifar100", "test_path": "", "num_classes": 100, "train_images": "all"}
    check_robustbench_model(stored_trial(path, data=data).data)
    return None


def trained_on_imagenet_100(path: Path) -> object:
    data = {"classes": "imagenet100", "num_classes": 100}
    check_robustbench_model(stored_trial(path, data=data).data)
    return None


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "images without their names": (
        without_names,
        "lacks 5000 of 5000: .*; its ids look like a/0.jpg; RobustBench's images are found by "
        "their numbers: name .* that keep the names ILSVRC2012_val_NUMBER.JPEG",
    ),
    "one image missing": (with_one_missing, f"lacks 1 of 4: {IDS[3]}; "),
    "labels in another order": (
        with_other_labels,
        "must have ImageNet's labels, and 5000 of 5000 in listed have others: .* bring the classes",
    ),
    "images in other folders": (
        with_swapped_folders,
        f"2 of 2 in folder .* have others: {IDS[0]} is of {IDS[1].partition('/')[0]} there",
    ),
    "classes of its own": (
        with_classes_of_its_own,
        "need ImageNet's classes, and listed has 2, such as cat; keep the folders of WordNet ids",
    ),
    "a model of photos": (trained_on_photos, "was trained with data.source=photos; take .*trained"),
    "a model of cifar": (trained_on_cifar, "1000 classes .* trained with data.source=cifar100"),
    "a model of imagenet-100": (
        trained_on_imagenet_100,
        "trained with data.classes=imagenet100 with 100 classes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_robustbenchs_is_refused_in_clear_words(name: str, tmp_path: Path) -> None:
    call, words = BAD[name]

    with pytest.raises(ValueError, match=words):
        call(tmp_path)


def test_a_model_of_all_of_imagenet_is_accepted(tmp_path: Path) -> None:
    data = {"num_classes": 1000, "select_images": 1000, "test_images": 1000}

    check_robustbench_model(stored_trial(tmp_path, data=data).data)
