"""A packed set: opened at once, checked, and refused when it is not whole."""

import json
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import break_files, listed, make_folder, pack_quietly, silent

from trainers.data.check import check
from trainers.data.folder import Files
from trainers.data.packed import (
    FORMAT,
    Packed,
    PackedIndex,
    PackedMeta,
    PackOptions,
    write_index,
    write_meta,
)
from trainers.data.source import Ids


@pytest.fixture
def folder(tmp_path: Path) -> Files:
    return make_folder(tmp_path / "folder", classes=["ant", "bee"], per_class=10, side=8)


def make_million(dest: Path) -> None:
    """A million images of one byte, their last decimal, with ids of eight digits."""
    n = 1_000_000
    digits = np.arange(n)[:, None] // 10 ** np.arange(7, -1, -1) % 10
    dest.mkdir()
    (dest / "images.bin").write_bytes(digits[:, -1].astype(np.uint8).tobytes())
    index = PackedIndex(
        offsets=np.arange(n + 1),
        labels=np.arange(n) // 1000,
        checksums=np.zeros(n, np.uint32),
        ids=Ids(np.arange(n + 1) * 8, (digits.ravel() + ord("0")).astype(np.uint8)),
    )
    meta = PackedMeta(
        format=FORMAT,
        classes=tuple(f"n{k:08d}" for k in range(1000)),
        images=n,
        image_bytes=n,
        id_bytes=len(index.ids.letters),
        index_sha256=write_index(dest, index),
        options=PackOptions(max_side=384, quality=90),
        source="made up",
        source_fingerprint="0" * 12,
        shrunk=0,
        bad=(),
    )
    write_meta(dest, meta)


def test_a_million_images_open_at_once_and_in_little_memory(tmp_path: Path) -> None:
    make_million(tmp_path / "packed")

    tracemalloc.start()
    start = time.process_time()
    packed = Packed(tmp_path / "packed")
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert seconds < 1
    assert peak < 2e6
    assert len(packed) == 1_000_000
    assert packed.ids[987_654] == "00987654"
    assert packed.read(987_654) == b"\x04"
    assert packed.labels[987_654] == 987


def test_check_names_what_is_unreadable_and_why(folder: Files) -> None:
    broken = break_files(folder)

    report = check(folder, workers=1, on_progress=silent)

    assert report.images == 20
    assert [bad.id for bad in report.bad] == [folder.ids[i] for i in broken]
    assert "Truncated" in report.bad[0].reason


def test_check_finds_a_flipped_bit_that_decodes(folder: Files, tmp_path: Path) -> None:
    pack_quietly(folder, tmp_path / "packed")
    data = bytearray((tmp_path / "packed/images.bin").read_bytes())
    packed = Packed(tmp_path / "packed")
    assert check(packed, workers=1, on_progress=silent).bad == ()

    data[len(packed.read(0)) + len(packed.read(1)) - 12] ^= 1
    (tmp_path / "packed/images.bin").write_bytes(data)
    report = check(Packed(tmp_path / "packed"), workers=1, on_progress=silent)

    assert [bad.id for bad in report.bad] == [folder.ids[1]]
    assert "checksum mismatch" in report.bad[0].reason


def test_sources_of_no_files_say_so_in_the_report() -> None:
    report = check(listed([2]), workers=1, on_progress=silent)

    assert [(bad.id, bad.reason) for bad in report.bad] == [
        ("c0/0", "reading failed: c0/0"),
        ("c0/1", "reading failed: c0/1"),
    ]


def edit_meta(dest: Path, **changes: object) -> None:
    file = dest / "meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


BAD_SETS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "has no meta.json; make one with `rampart data pack`"),
    "no meta": (lambda dest: (dest / "meta.json").unlink(), "has no meta.json"),
    "no images": (lambda dest: (dest / "images.bin").unlink(), "needs images.bin.*not there"),
    "no index": (lambda dest: (dest / "index.bin").unlink(), "needs index.bin.*not there"),
    "half a meta": (lambda dest: truncate(dest / "meta.json") or truncate(dest / "meta.json"),
                    "must be JSON.*pack it again"),
    "another version": (lambda dest: edit_meta(dest, format=2), "must have format 1, got 2"),
    "no version": (lambda dest: (dest / "meta.json").write_text("[]"), "format 1, got None"),
    "other fields": (lambda dest: edit_meta(dest, images="many"), "must have the fields of a pack"),
    "short images": (lambda dest: truncate(dest / "images.bin"), "must have .* bytes, as meta"),
    "short index": (lambda dest: truncate(dest / "index.bin"), "must have .* bytes, as meta"),
    "damaged index": (lambda dest: flip(dest / "index.bin"), "must have the SHA-256.*copy"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SETS)
def test_a_damaged_packed_set_is_refused_with_the_way_out(
    name: str, folder: Files, tmp_path: Path
) -> None:
    damage, message = BAD_SETS[name]
    pack_quietly(folder, tmp_path / "packed")
    damage(tmp_path / "packed")

    with pytest.raises(ValueError, match=message):
        Packed(tmp_path / "packed")
