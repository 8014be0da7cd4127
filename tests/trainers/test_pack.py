"""Packing: byte for byte or shrunk, resumed where it can be, refused where it cannot."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import (
    PACKED_FILES,
    break_files,
    contents,
    encode,
    make_folder,
    noise,
    pack_quietly,
    silent,
)
from PIL import Image

import trainers.data.pack
from trainers.data.folder import Files, open_folder
from trainers.data.pack import pack
from trainers.data.packed import Packed, read_meta


@pytest.fixture
def folder(tmp_path: Path) -> Files:
    return make_folder(tmp_path / "folder", classes=["ant", "bee"], per_class=10, side=8)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts of five images each."""
    monkeypatch.setattr(trainers.data.pack, "PART", 5)


def test_small_images_are_packed_byte_for_byte(folder: Files, tmp_path: Path) -> None:
    meta = pack_quietly(folder, tmp_path / "packed")
    packed = Packed(tmp_path / "packed")

    assert (meta.images, meta.shrunk, meta.bad) == (20, 0, ())
    assert packed.classes == folder.classes
    assert packed.labels.tolist() == folder.labels.tolist()
    assert list(packed.ids) == list(folder.ids)
    assert [packed.read(i) for i in range(20)] == [folder.read(i) for i in range(20)]


@pytest.mark.parametrize(
    ("size", "packed_size"),
    [((16, 12), (11, 8)), ((12, 16), (8, 11)), ((9, 100), (8, 89)), ((8, 100), None)],
)
def test_only_a_longer_short_side_is_shrunk_and_to_max_side(
    size: tuple[int, int], packed_size: tuple[int, int] | None, tmp_path: Path
) -> None:
    image = noise(0, width=size[0], height=size[1])
    (tmp_path / "folder/a").mkdir(parents=True)
    (tmp_path / "folder/a/1.png").write_bytes(encode(image, "PNG"))

    pack_quietly(open_folder(tmp_path / "folder"), tmp_path / "packed", quality=80)
    stored = Packed(tmp_path / "packed").read(0)

    if packed_size is None:
        assert stored == encode(image, "PNG")
    else:
        expected = io.BytesIO()
        image.resize(packed_size, Image.Resampling.BICUBIC).save(expected, "JPEG", quality=80)
        assert stored == expected.getvalue()


@pytest.mark.usefixtures("small_parts")
def test_the_number_of_processes_and_of_parts_does_not_change_the_files(
    folder: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[int, int]] = []
    pack(
        folder, tmp_path / "two", max_side=6, quality=90, max_bad=0.0, workers=2,
        on_progress=lambda done, images: heard.append((done, images)),
    )  # fmt: skip
    monkeypatch.setattr(trainers.data.pack, "PART", 7)
    pack_quietly(folder, tmp_path / "one", max_side=6)

    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert heard == [(done, 20) for done in [0, 5, 10, 15, 20]]


@pytest.mark.usefixtures("small_parts")
def test_whole_parts_are_kept_and_damaged_or_incomplete_ones_made_again(
    folder: Files, tmp_path: Path
) -> None:
    (tmp_path / "folder" / folder.ids[19]).write_bytes(b"broken")
    with pytest.raises(ValueError, match="repair or remove"):
        pack_quietly(folder, tmp_path / "packed")
    parts = tmp_path / ".packed.parts"
    kept = (parts / "part-000000005.bin").stat()
    with (parts / "part-000000000.bin").open("r+b") as file:
        file.write(b"damage")
    (parts / "part-000000010.json").write_text("{")
    image = encode(noise(0, width=4, height=4), "JPEG")
    (tmp_path / "folder" / folder.ids[19]).write_bytes(image)
    seen: list[tuple[int, int]] = []

    pack(
        folder, tmp_path / "packed", max_side=8, quality=90, max_bad=0.0, workers=1,
        on_progress=lambda done, _: seen.append((done, kept.st_ino)),
    )  # fmt: skip

    packed = Packed(tmp_path / "packed")
    assert [done for done, _ in seen] == [5, 10, 15, 20]
    assert [packed.read(i) for i in range(20)] == [folder.read(i) for i in range(20)]


def test_a_finished_packing_is_left_alone(folder: Files, tmp_path: Path) -> None:
    first = pack_quietly(folder, tmp_path / "packed")
    before = [(tmp_path / "packed" / name).stat() for name in PACKED_FILES]
    shutil.rmtree(folder.root)

    assert pack_quietly(folder, tmp_path / "packed") == first
    assert [(tmp_path / "packed" / name).stat() for name in PACKED_FILES] == before


def test_unreadable_images_are_left_out_and_listed_with_their_reasons(
    folder: Files, tmp_path: Path
) -> None:
    broken = break_files(folder)

    meta = pack_quietly(folder, tmp_path / "packed", max_bad=0.15)
    packed = Packed(tmp_path / "packed")

    assert [bad.id for bad in meta.bad] == [folder.ids[i] for i in broken]
    assert "Truncated" in meta.bad[0].reason
    assert "file is empty" in meta.bad[1].reason
    assert "No such file" in meta.bad[2].reason
    assert list(packed.ids) == [text for i, text in enumerate(folder.ids) if i not in broken]
    assert [packed.read(i) for i in (3, 16)] == [folder.read(i) for i in (4, 19)]
    assert packed.labels.tolist() == [0] * 8 + [1] * 9


def test_a_packed_set_can_be_packed_again_smaller(folder: Files, tmp_path: Path) -> None:
    pack_quietly(folder, tmp_path / "once")
    pack_quietly(Packed(tmp_path / "once"), tmp_path / "twice", max_side=4)
    pack_quietly(folder, tmp_path / "directly", max_side=4)

    for name in PACKED_FILES[:2]:
        assert (tmp_path / "twice" / name).read_bytes() == (
            tmp_path / "directly" / name
        ).read_bytes()


def unreadable(source: Files, dest: Path) -> None:
    for text in source.ids:
        (source.root / text).write_bytes(b"<html>")
    pack_quietly(source, dest, max_bad=0.5)


def pack_other_options(source: Files, dest: Path) -> None:
    pack_quietly(source, dest)
    pack_quietly(source, dest, max_side=7, quality=80)


def pack_another_source(source: Files, dest: Path) -> None:
    pack_quietly(source, dest)
    pack_quietly(make_folder(dest.parent / "b", classes=["x"], per_class=1, side=8), dest)


def go_on_with_other_options(source: Files, dest: Path) -> None:
    (source.root / source.ids[0]).write_bytes(b"")
    with pytest.raises(ValueError, match="unreadable"):
        pack_quietly(source, dest)
    pack_quietly(source, dest, quality=80)


def pack_into_other_files(source: Files, dest: Path) -> None:
    dest.mkdir()
    (dest / "thesis.tex").write_text("")
    pack_quietly(source, dest)


def go_on_with_a_damaged_plan(source: Files, dest: Path) -> None:
    (dest.parent / ".packed.parts").mkdir()
    (dest.parent / ".packed.parts/plan.json").write_text("{")
    pack_quietly(source, dest)


def pack_into_a_damaged_set(source: Files, dest: Path) -> None:
    pack_quietly(source, dest)
    (dest / "meta.json").write_text("{")
    pack_quietly(source, dest)


def finished_with_too_many(source: Files, dest: Path) -> None:
    (source.root / source.ids[0]).write_bytes(b"")
    pack_quietly(source, dest, max_bad=0.1)
    pack_quietly(source, dest, max_bad=0.01)


def pack_without_workers(source: Files, dest: Path) -> None:
    pack(source, dest, max_side=8, quality=90, max_bad=0.0, workers=0, on_progress=silent)


BAD_PACKINGS: dict[str, tuple[Callable[[Files, Path], object], str]] = {
    "too many unreadable": (unreadable, r"20 of folder.*first:(\n.*){10}$"),
    "too many in a finished one": (finished_with_too_many, r"at most 0\.01 of the 20.*1 of folder"),
    "other options": (pack_other_options, "packed already, from max_side 8, not 7, quality"),
    "another source": (pack_another_source, "packed already, from source .*choose another dest"),
    "parts with other options": (go_on_with_other_options, "holds parts of quality 90, not 80; "),
    "parts with a damaged plan": (go_on_with_a_damaged_plan, "plan of a packing.*; remove .*parts"),
    "a damaged set": (pack_into_a_damaged_set, "meta.json must be JSON.*: remove .*, or choose"),
    "other files": (pack_into_other_files, "new, an empty folder or a packed.*choose another"),
    "no worker": (pack_without_workers, "workers must be at least 1, got 0"),
    "all may be bad": (lambda s, d: pack_quietly(s, d, max_bad=1.0), r"in \[0, 1\), got 1"),
    "no side": (lambda s, d: pack_quietly(s, d, max_side=0), "greater than or equal to 1"),
    "no quality": (lambda s, d: pack_quietly(s, d, quality=101), "less than or equal to 100"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PACKINGS)
def test_a_bad_packing_is_refused_with_the_way_out(
    name: str, folder: Files, tmp_path: Path
) -> None:
    attempt, message = BAD_PACKINGS[name]

    with pytest.raises(ValueError, match=message):
        attempt(folder, tmp_path / "packed")


def test_an_empty_folder_is_a_destination(folder: Files, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()

    assert pack_quietly(folder, tmp_path / "packed") == read_meta(tmp_path / "packed")
