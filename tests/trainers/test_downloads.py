"""Torchvision's sets, from tiny files in their formats, and without a network."""

import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from image_files import encode
from PIL import Image
from torchvision.datasets import CIFAR10, Caltech101, Flowers102

from trainers.data.decode import decode
from trainers.data.downloads import open_download, serve_caltech, serve_cifar, serve_flowers
from trainers.data.open import open_source
from trainers.data.source import DownloadKind


class TinyCifar(CIFAR10):
    """CIFAR-10 with two images in each of two batches, as files in its format."""

    train_list: list[list[str]] = []  # noqa: RUF012
    test_list: list[list[str]] = []  # noqa: RUF012


def write_pickle(folder: Path, name: str, content: object) -> list[str]:
    folder.mkdir(exist_ok=True)
    data = pickle.dumps(content)
    (folder / name).write_bytes(data)
    return [name, hashlib.md5(data).hexdigest()]


def test_cifar_is_served_as_png_of_the_same_pixels(tmp_path: Path) -> None:
    folder = tmp_path / CIFAR10.base_folder
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (2, 3 * 32 * 32), np.uint8) for _ in range(2)]
    TinyCifar.train_list = [
        write_pickle(folder, f"data_batch_{i}", {"data": batch, "labels": [1, i]})
        for i, batch in enumerate(batches)
    ]
    md5 = write_pickle(folder, "batches.meta", {"label_names": ["ant", "bee"]})[1]
    TinyCifar.meta = CIFAR10.meta | {"md5": md5}

    source = serve_cifar(TinyCifar(tmp_path, train=True), "cifar10-train")

    assert source.classes == ("ant", "bee")
    assert source.labels.tolist() == [1, 0, 1, 1]
    assert list(source.ids) == [f"train/{i:05d}" for i in range(4)]
    for i, row in enumerate(np.concatenate(batches)):
        expected = row.reshape(3, 32, 32).transpose(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(decode(source.read(i))), expected)


def test_caltech_is_split_into_thirty_of_each_class_and_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "caltech101/101_ObjectCategories"
    for name, count in {"ant": 31, "bee": 40, "BACKGROUND_Google": 1}.items():
        (folder / name).mkdir(parents=True)
        for i in range(1, count + 1):
            image = Image.new("RGB", (4, 4), (i, 0, 0))
            (folder / name / f"image_{i:04d}.jpg").write_bytes(encode(image, "PNG"))
    dataset = Caltech101(tmp_path)

    train = serve_caltech(dataset, "caltech101-train")
    test = serve_caltech(dataset, "caltech101-test")

    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(test.labels).tolist() == [1, 10]
    assert not set(train.ids) & set(test.ids)
    files = sorted(str(p.relative_to(folder)) for p in folder.glob("[ab]*/*"))
    assert sorted([*train.ids, *test.ids]) == files
    assert open_source("caltech101-train", tmp_path).read(7) == train.read(7)


class TinyFlowers(Flowers102):
    """Flowers-102 whose label files have other checksums."""

    _file_dict: dict[str, tuple[str, str]] = {}  # noqa: RUF012

    @classmethod
    def add(cls, key: str, file: Path, content: dict[str, object]) -> None:
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, content)
        file.write_bytes(buffer.getvalue())
        cls._file_dict[key] = file.name, hashlib.md5(buffer.getvalue()).hexdigest()


def test_flowers_are_the_files_of_the_split_with_their_labels(tmp_path: Path) -> None:
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(1, 5):
        (folder / "jpg" / f"image_{i:05d}.jpg").write_bytes(b"file %d" % i)
    TinyFlowers.add("label", folder / "imagelabels.mat", {"labels": [[5, 6, 7, 102]]})
    TinyFlowers.add("setid", folder / "setid.mat", {"trnid": [1], "valid": [3], "tstid": [4, 2]})

    dataset = TinyFlowers(tmp_path, split="test", loader=Path)
    source = serve_flowers(dataset, "flowers102-test")

    assert list(source.ids) == ["image_00004.jpg", "image_00002.jpg"]
    assert source.labels.tolist() == [101, 5]
    assert [source.read(i) for i in range(2)] == [b"file 4", b"file 2"]
    assert len(source.classes) == 102


@pytest.mark.parametrize("kind", ["cifar10-train", "cifar100-test", "flowers102-val"])
def test_without_a_network_a_missing_set_says_where_it_should_be(
    kind: DownloadKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["http_proxy", "https_proxy"]:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")

    with pytest.raises(ValueError, match=f"{kind} must lie in .*fetched.*refused.*copy it there"):
        open_download(kind, tmp_path)


def test_a_set_that_is_not_as_torchvision_stores_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "caltech101/101_ObjectCategories/ant").mkdir(parents=True)  # no background class

    with pytest.raises(ValueError, match=r"must lie in .* as torchvision stores it.*not in list"):
        open_download("caltech101-train", tmp_path)
