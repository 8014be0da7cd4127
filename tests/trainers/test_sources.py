"""Folders, packed sets and parquet shards serve the same images alike."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Listed, encode, make_folder, make_parquet, noise, pack_quietly
from torchvision.datasets import ImageFolder as TorchvisionFolder

from trainers.data.decode import decode
from trainers.data.folder import open_folder
from trainers.data.open import open_source
from trainers.data.parquet import Parquet
from trainers.data.source import Source, SourceKind, fingerprint, pack_ids


def pixels(source: Source) -> dict[str, tuple[str, bytes]]:
    """Class and decoded pixels by id."""
    return {
        text: (source.classes[source.labels[i]], np.asarray(decode(source.read(i))).tobytes())
        for i, text in enumerate(source.ids)
    }


@pytest.fixture
def sources(tmp_path: Path) -> dict[SourceKind, Source]:
    """The same nine images three times; the shards have them in another order."""
    folder = make_folder(tmp_path / "folder", classes=["ant", "bee", "cat"], per_class=3, side=8)
    pack_quietly(folder, tmp_path / "packed")
    make_parquet(tmp_path / "shards/0.parquet", folder, rows=[8, 0, 3, 6, 1], group=2)
    make_parquet(tmp_path / "shards/1.parquet", folder, rows=[2, 7, 4, 5], group=3)
    return {
        "folder": folder,
        "packed": open_source("packed", tmp_path / "packed"),
        "parquet": open_source("parquet", tmp_path / "shards"),
    }


def test_folder_packed_and_parquet_give_identical_arrays_for_the_same_ids(
    sources: dict[SourceKind, Source],
) -> None:
    folder = pixels(sources["folder"])

    assert len(folder) == 9
    assert pixels(sources["packed"]) == folder
    assert pixels(sources["parquet"]) == folder


@pytest.mark.parametrize("kind", ["folder", "packed", "parquet"])
def test_a_source_reads_the_same_after_it_was_pickled(
    kind: SourceKind, sources: dict[SourceKind, Source]
) -> None:
    source = sources[kind]
    source.read(0)

    sent = pickle.dumps(source)
    arrived = pickle.loads(sent)

    assert pixels(arrived) == pixels(source)
    assert (arrived.name, arrived.classes) == (source.name, source.classes)
    assert source.read(0) not in sent


@pytest.mark.parametrize("kind", ["folder", "packed", "parquet"])
def test_a_source_counts_from_both_ends_and_stops_there(
    kind: SourceKind, sources: dict[SourceKind, Source]
) -> None:
    source = sources[kind]

    assert source.read(-1) == source.read(8)
    with pytest.raises(IndexError):
        source.read(9)


def test_a_packed_set_has_the_fingerprint_of_its_source(
    sources: dict[SourceKind, Source],
) -> None:
    assert fingerprint(sources["packed"]) == fingerprint(sources["folder"])
    assert fingerprint(sources["parquet"]) != fingerprint(sources["folder"])


def test_fingerprints_tell_ids_labels_and_classes_apart() -> None:
    same = [Listed(["a", "bc"], [0, 1], ["x", "y"]) for _ in range(2)]
    others = [
        Listed(["ab", "c"], [0, 1], ["x", "y"]),
        Listed(["a", "bc"], [1, 1], ["x", "y"]),
        Listed(["a", "bc"], [0, 1], ["x", "z"]),
    ]

    assert fingerprint(same[0]) == fingerprint(same[1])
    assert len({fingerprint(source) for source in [same[0], *others]}) == 4


def test_a_folder_has_the_order_and_labels_of_torchvision(tmp_path: Path) -> None:
    image = encode(noise(0, width=4, height=4), "PNG")
    for file in [
        "b/2.png", "b/10.PNG", "b/sub/1.webp", "b/sub-1/1.jpeg", "b/notes.txt", "a/x.tif",
        "a/deep/er/y.bmp", "a/Z.jpg", "B/q.ppm", "stray.jpg",
    ]:  # fmt: skip
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(image)

    ours, theirs = open_folder(tmp_path), TorchvisionFolder(tmp_path)

    assert list(ours.classes) == theirs.classes
    assert [(str(tmp_path / i), k) for i, k in zip(ours.ids, ours.labels, strict=True)] == [
        (str(path), label) for path, label in theirs.samples
    ]


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(codec="utf-8"))), st.slices(8))
def test_packed_ids_behave_like_the_list(texts: list[str], part: slice) -> None:
    ids = pack_ids(texts)

    assert list(ids) == texts
    assert [ids[i] for i in range(-len(texts), len(texts))] == texts + texts
    assert ids[part] == texts[part]


def test_shards_without_paths_get_ids_from_file_and_row(tmp_path: Path) -> None:
    data = [encode(noise(i, width=4, height=4), "PNG") for i in range(3)]
    table = pa.table({"image": data, "label": [2, 0, 2]})
    pq.write_table(table, tmp_path / "b.parquet")
    pq.write_table(table.slice(0, 1), tmp_path / "a.parquet")

    source = Parquet([tmp_path])

    assert list(source.ids) == ["a.parquet/0", "b.parquet/0", "b.parquet/1", "b.parquet/2"]
    assert source.classes == ("0", "1", "2")
    assert source.labels.tolist() == [2, 2, 0, 2]
    assert [source.read(i) for i in range(4)] == [data[0], *data]


def test_a_damaged_row_group_is_an_error_of_the_storage(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder", classes=["a"], per_class=4, side=8)
    shard = tmp_path / "0.parquet"
    make_parquet(shard, folder, rows=range(4), group=4)
    source = Parquet([shard])
    content = shard.read_bytes()

    shard.write_bytes(b"PAR1" + bytes(400) + content[404:])

    with pytest.raises(OSError, match=r"row group 0 of .*0\.parquet"):
        source.read(0)


def shard(path: Path, columns: dict[str, object]) -> None:
    pq.write_table(pa.table(columns), path / "0.parquet")


def empty_class(path: Path) -> None:
    make_folder(path, classes=["a"], per_class=1, side=4)
    (path / "b").mkdir()


def hugging_face_shard(path: Path, metadata: object) -> None:
    table = pa.table({"image": [b"", b""], "label": [0, 1]})
    described = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(described, path / "0.parquet")


def damaged_shard(path: Path) -> None:
    shard(path, {"image": [b""] * 99, "label": [*range(99)]})
    data = (path / "0.parquet").read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    (path / "0.parquet").write_bytes(b"PAR1" + bytes(len(data) - footer - 4) + data[-footer:])


def other_shard(path: Path) -> None:
    shard(path, {"image": [b""], "label": [0]})
    pq.write_table(pa.table({"image": [b""], "label": [0], "x": [1]}), path / "1.parquet")


def twins(path: Path) -> None:
    for name in ["a", "b"]:
        (path / name).mkdir()
        shard(path / name, {"image": [b""], "label": [0]})


BAD: dict[str, tuple[SourceKind, Callable[[Path], object], str]] = {
    "no folder": ("folder", lambda path: path.rmdir(), "one folder for each class.*not there"),
    "a file for a folder": (
        "folder",
        lambda path: (path.rmdir(), path.write_text("")),
        "one folder for each class.*is a file",
    ),
    "no class": ("folder", lambda path: (path / "1.jpg").write_text(""), "has none; expected"),
    "an empty class": ("folder", empty_class, "1 of 2 folders.*have none: b; remove"),
    "a name that is not text": (
        "folder",
        lambda path: ((path / "a").mkdir(), (path / "a" / "\udcff.jpg").write_text("")),
        "must be UTF-8, got 'a/.udcff.jpg'; rename",
    ),
    "no shard": ("parquet", lambda path: (path / "x.csv").write_text(""), "at least one shard"),
    "no parquet folder": ("parquet", lambda path: path.rmdir(), "parquet.*is not there"),
    "not parquet": (
        "parquet",
        lambda path: (path / "0.parquet").write_text("hello, hello"),
        "must be a parquet file; fetch it again",
    ),
    "other columns": (
        "parquet",
        lambda path: shard(path, {"img": [b""], "label": [0]}),
        "lacks image; it has img, label; rename",
    ),
    "text for an image": (
        "parquet",
        lambda path: shard(path, {"image": ["a"], "label": [0]}),
        "must be binary or a struct.*string; write it with",
    ),
    "text for a label": (
        "parquet",
        lambda path: shard(path, {"image": [b""], "label": ["cat"]}),
        "label must be integer.*string; write it with",
    ),
    "no label": (
        "parquet",
        lambda path: shard(path, {"image": [b"", b""], "label": [0, None]}),
        "every image must have a label, and 1 have none",
    ),
    "label -1": (
        "parquet",
        lambda path: shard(path, {"image": [b"", b""], "label": [-1, 0]}),
        "labels must be 0 or more.*begin with -1; -1 marks",
    ),
    "more labels than names": (
        "parquet",
        lambda path: hugging_face_shard(path, {"info": {"features": {"label": {"names": ["a"]}}}}),
        "between 0 and 0, for the metadata .* name 1 classes, and reach 1; write it",
    ),
    "metadata of another program": (
        "parquet",
        lambda path: hugging_face_shard(path, {"info": []}),
        "metadata of .* must be as datasets writes them.*no attribute 'get'; write it again",
    ),
    "a number for the names": (
        "parquet",
        lambda path: hugging_face_shard(path, {"info": {"features": {"label": {"names": 2}}}}),
        "metadata of .* a list of names .*: names is 2; write it again",
    ),
    "damaged labels": ("parquet", damaged_shard, "must be a parquet file; fetch it again"),
    "a folder for a shard": (
        "parquet",
        lambda path: (path / "0.parquet").mkdir(),
        "must be a parquet file; fetch it again: .*is a directory",
    ),
    "no rows": (
        "parquet",
        lambda path: shard(
            path, {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}
        ),
        "must have images, and parquet .* has none",
    ),
    "shards that differ": ("parquet", other_shard, "must have the same columns"),
    "shards of one name": ("parquet", twins, "shards must have different names"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_source_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    kind, make, message = BAD[name]
    path = tmp_path / "data"
    path.mkdir()
    make(path)

    with pytest.raises(ValueError, match=message):
        open_source(kind, path)


@pytest.mark.parametrize("place", ["", "ant"])
def test_a_folder_that_may_not_be_read_is_an_error_and_no_folder_without_images(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not bind who runs as root, so the system is asked to refuse."""
    make_folder(tmp_path, classes=["ant", "bee"], per_class=1, side=4)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path) == tmp_path / place:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(ValueError, match=r"must be readable, and .* is not: Permission denied; "):
        open_folder(tmp_path)
