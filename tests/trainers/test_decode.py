"""Decoding agrees with torchvision's loader on whole files and refuses the others."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, listed, make_folder, noise
from PIL import Image, ImageFile
from torchvision.datasets.folder import default_loader

from trainers.data.decode import UnreadableImageError, decode, read_whole, replacement

SOURCE_IMAGE = noise(0, width=7, height=5)


def with_orientation() -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    SOURCE_IMAGE.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


WHOLE: dict[str, Callable[[], bytes]] = {
    "colour": lambda: encode(SOURCE_IMAGE, "JPEG"),
    "gray": lambda: encode(SOURCE_IMAGE.convert("L"), "JPEG"),
    "cmyk": lambda: encode(SOURCE_IMAGE.convert("CMYK"), "JPEG"),
    "palette": lambda: encode(SOURCE_IMAGE.convert("P"), "PNG"),
    "transparent": lambda: encode(SOURCE_IMAGE.convert("RGBA"), "PNG"),
    "16 bit": lambda: encode(SOURCE_IMAGE.convert("L").convert("I;16"), "PNG"),
    "one bit": lambda: encode(SOURCE_IMAGE.convert("1"), "PNG"),
    "webp": lambda: encode(SOURCE_IMAGE, "WEBP"),
    "tiff": lambda: encode(SOURCE_IMAGE, "TIFF"),
    "turned by exif": with_orientation,
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_mode_decodes_to_what_torchvision_loads(name: str, tmp_path: Path) -> None:
    data = WHOLE[name]()
    (tmp_path / "image").write_bytes(data)

    image = decode(data)

    assert image.mode == "RGB"
    assert image.size == SOURCE_IMAGE.size
    np.testing.assert_array_equal(np.asarray(image), default_loader(tmp_path / "image"))


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "file is empty"),
    "no image": (b"<html>404</html>", "begin with b'<html>40' are no image"),
    "half a jpeg": (encode(SOURCE_IMAGE, "JPEG")[:-60], r"truncated.*\(OSError\)"),
    "jpeg header": (encode(SOURCE_IMAGE, "JPEG")[:30], "Truncated File Read"),
    "half a png": (encode(SOURCE_IMAGE, "PNG")[:60], "truncated"),
    "huge": (b"P6 60000 60000 255\n", "exceeds limit"),
    "bad ppm": (b"P6 a b 255\n", r"invalid literal.*\(ValueError\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_the_reason(name: str) -> None:
    data, reason = BROKEN[name]

    with pytest.raises(UnreadableImageError, match=reason):
        decode(data)


def test_no_truncated_jpeg_becomes_a_partly_gray_image() -> None:
    data = encode(SOURCE_IMAGE, "JPEG")
    start_of_scan = data.index(b"\xff\xda") + 14

    for length in range(start_of_scan, len(data) - 4):
        with pytest.raises(UnreadableImageError):
            decode(data[:length])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_bytes_raise_nothing_else() -> None:
    rng = np.random.default_rng(0)
    for make in WHOLE.values():
        whole = make()
        for _ in range(30):
            data = bytearray(whole)
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
            try:
                decode(bytes(data))
            except UnreadableImageError:
                continue


def test_a_file_that_cannot_be_read_is_unreadable_with_the_systems_reason() -> None:
    with pytest.raises(UnreadableImageError, match="reading failed: c0/1"):
        read_whole(listed([2]), 1)


def test_reading_a_whole_file_returns_its_bytes_and_its_pixels(tmp_path: Path) -> None:
    source = make_folder(tmp_path, classes=["a"], per_class=1, side=5)

    data, image = read_whole(source, 0)

    assert data == (tmp_path / source.ids[0]).read_bytes()
    assert image.size == (5, 5)


def test_replacements_visit_every_other_image_once_and_its_own_class_first() -> None:
    labels = np.array([0, 1, 0, 2, 1, 0, 0, 2])

    for index, label in enumerate(labels):
        visited = [replacement(labels, index, attempt=k) for k in range(1, len(labels))]
        same = int((labels == label).sum()) - 1

        assert sorted([index, *visited]) == list(range(len(labels)))
        assert all(labels[i] == label for i in visited[:same])


def test_neighbours_do_not_share_a_replacement() -> None:
    labels = np.zeros(10, np.int64)

    assert len({replacement(labels, i, attempt=1) for i in range(10)}) == 10


@pytest.mark.parametrize("attempt", [0, 3])
def test_there_is_no_replacement_beyond_the_split(attempt: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 2.*got {attempt}.*no image is left"):
        replacement(np.array([0, 0, 1]), 0, attempt=attempt)
