"""Manifests beside results: written once, and other images are refused later, by name."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from base_trial import base_trial
from image_files import listed, make_folder
from stored_factory import stored_trial

from trainers.config import TrialConfig
from trainers.data.load import changed_images, load_train, write_manifests
from trainers.data.manifest import (
    BIG,
    Manifest,
    differences,
    make_manifest,
    read_manifest,
)


def manifest(*images: str, classes: tuple[str, ...] = ("ant", "bee")) -> Manifest:
    """Images are called CLASS/ID."""
    labels = [classes.index(image.split("/")[0]) for image in images]
    ids = tuple(image.split("/")[1] for image in images)
    return Manifest(source="test", classes=classes, ids=ids, labels=tuple(labels))


BEFORE = manifest("ant/0", "ant/1", "bee/2")
CHANGES: dict[str, tuple[Manifest, str]] = {
    "nothing": (manifest("ant/0", "ant/1", "bee/2"), ""),
    "one gone": (manifest("ant/0", "bee/2"), "1 image is gone, such as 1"),
    "two new": (
        manifest("ant/0", "ant/1", "bee/2", "bee/3", "ant/4"),
        "2 images are new, such as 3, 4",
    ),
    "another class": (
        manifest("ant/0", "bee/1", "bee/2"),
        "1 image changed class, such as 1 (ant, now bee)",
    ),
    "all of it": (
        manifest("bee/1", "bee/3"),
        "2 images are gone, such as 0, 2; 1 image is new, such as 3; "
        "1 image changed class, such as 1 (ant, now bee)",
    ),
    "other labels": (
        manifest("ant/0", "ant/1", "bee/2", classes=("bee", "ant")),
        "the classes are others, or in another order",
    ),
    "another order": (
        manifest("bee/2", "ant/1", "ant/0"),
        "the images are in another order",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_between_manifests_is_said_in_words(name: str) -> None:
    after, words = CHANGES[name]

    assert differences(BEFORE, after) == words
    assert bool(words) == (after.hash != BEFORE.hash)


def test_of_many_changes_ten_are_named() -> None:
    whole = make_manifest(listed([30]), np.arange(30), classes=[0])
    half = make_manifest(listed([30]), np.arange(15), classes=[0])

    words = differences(whole, half)

    assert words.startswith("15 images are gone, such as c0/15, c0/16, ")
    assert words.endswith(", c0/24")


def broken_deflate() -> bytes:
    whole = bytearray(gzip.compress(b"0123456789" * 99))
    whole[10] ^= 0xFF  # the first byte after the header
    return bytes(whole)


NO_MANIFESTS: dict[str, tuple[str, bytes, str]] = {
    "another file": ("train.json", b"[1, 2, 3]", "TypeError"),
    "no text": ("train.json", b"\xff" * 99, "UnicodeDecodeError"),
    "empty": ("train.json.gz", b"", "JSONDecodeError"),
    "not compressed": ("train.json.gz", b"{}", "BadGzipFile"),
    "cut off": ("train.json.gz", gzip.compress(b"0" * 99)[:9], "EOFError"),
    "damaged": ("train.json.gz", broken_deflate(), "Error -3 while decompressing"),
}


@pytest.mark.parametrize("name", NO_MANIFESTS)
def test_a_file_that_is_no_manifest_is_refused(name: str, tmp_path: Path) -> None:
    file, content, message = NO_MANIFESTS[name]
    (tmp_path / file).write_bytes(content)

    with pytest.raises(ValueError, match=f"must be a manifest, JSON with a hash; .*{message}"):
        read_manifest(tmp_path / file)


def on_disk(tmp_path: Path, *, share: float) -> TrialConfig:
    for name, side in (("real", 16), ("made", 8)):
        if not (tmp_path / name).exists():
            make_folder(tmp_path / name, classes=("ant", "bee"), per_class=4, side=side)
    extra = {"source": "folder", "path": str(tmp_path / "made"), "share": share}
    data = {"num_classes": 2, "select_images": 2, "extra": extra}
    return stored_trial(tmp_path / "real", data=data)


def write(config: TrialConfig, folder: Path) -> str:
    """Writes the manifests of a trial, and returns the key of their names."""
    key = load_train(config).hash
    write_manifests(config.data, folder, key=key)
    return key


def test_manifests_of_all_that_a_search_reads_lie_beside_its_results(tmp_path: Path) -> None:
    config, folder = on_disk(tmp_path, share=0.5), tmp_path / "manifests"

    key = write(config, folder)

    found = {path.stem: read_manifest(path) for path in folder.iterdir()}
    sizes = {f"{key}-train": 6, f"{key}-select": 2, f"{key}-extra": 8}
    assert {name: len(manifest) for name, manifest in found.items()} == sizes
    assert not set(found[f"{key}-train"].ids) & set(found[f"{key}-select"].ids)
    written = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write(config, folder) == key
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_without_extra_images_the_key_is_the_hash_of_the_manifest(tmp_path: Path) -> None:
    key = write(on_disk(tmp_path, share=0), tmp_path / "manifests")

    found = {path.name: read_manifest(path).hash for path in (tmp_path / "manifests").iterdir()}
    assert found[f"{key}-train.json"] == key
    assert set(found) == {f"{key}-train.json", f"{key}-select.json"}


@pytest.mark.parametrize("big", [BIG, 1])
def test_what_changed_under_a_run_is_named(
    big: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = on_disk(tmp_path, share=0.5), tmp_path / "manifests"
    before = write(config, folder)
    gone = tmp_path / "made" / "ant" / "img_0002.JPEG"
    gone.rename(tmp_path / "made" / "bee" / "img_0009.JPEG")
    monkeypatch.setattr("trainers.data.manifest.BIG", big)  # the later ones are compressed

    now = write(config, folder)

    assert changed_images(folder, before=before, now=now) == (
        "extra: 1 image is gone, such as ant/img_0002.JPEG; "
        "1 image is new, such as bee/img_0009.JPEG"
    )


def test_the_embedded_task_has_no_manifests(tmp_path: Path) -> None:
    config = TrialConfig.model_validate(base_trial())

    key = write(config, tmp_path / "manifests")

    assert not (tmp_path / "manifests").exists()
    assert changed_images(tmp_path / "manifests", before=key, now="0" * 12) == ""
