"""From the bytes of a file to pixels, and what stands in for a file that has none."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from models.config import Config
from trainers.data.source import Labels, Source

BROKEN = (
    OSError,  # also UnidentifiedImageError; truncated files
    SyntaxError,  # broken PNG
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises for damaged files, each seen in its plugins; it promises no common class."""


class UnreadableImageError(ValueError):
    """The bytes are not an image, or not a whole one."""


class BadImage(Config):
    """An image that cannot be used, and why."""

    id: str
    reason: str


def decode(data: bytes) -> Image.Image:
    """Returns the image as RGB, exactly as torchvision's default loader does.

    The orientation that EXIF may ask for, colour profiles and transparency are passed over.

    Raises:
        UnreadableImageError: If the file is truncated, broken or no image.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            # `convert` would copy the pixels even so.
            return image if image.mode == "RGB" else image.convert("RGB")
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(
            f"{len(data)} bytes that begin with {data[:8]!r} are no image that Pillow knows"
        ) from error
    except BROKEN as error:
        raise UnreadableImageError(f"{error} ({type(error).__name__})") from error


def read_whole(source: Source, index: int) -> tuple[bytes, Image.Image]:
    """Returns the file and its pixels, after comparing the checksum where the source keeps one.

    Raises:
        UnreadableImageError: If the file cannot be read, is not what was stored, or no image.
    """
    try:
        data = source.read(index)
    except OSError as error:
        raise UnreadableImageError(f"reading failed: {error}") from error
    expected = source.checksum(index)
    if expected is not None and zlib.crc32(data) != expected:
        raise UnreadableImageError(
            f"checksum mismatch: CRC-32 {zlib.crc32(data):08x}, stored as {expected:08x}"
        )
    return data, decode(data)


def replacement(labels: Labels, index: int, *, attempt: int) -> int:
    """Returns the image that stands in for `index` when it and `attempt - 1` others failed.

    First the others of its class, in order and around the end, then all of the other classes: the
    attempts 1 to n - 1 visit each other image of the split once.

    Args:
        labels: Of all images that may stand in: those of one split.
        attempt: From 1.

    Raises:
        ValueError: If no other image is left.
    """
    if not 1 <= attempt < len(labels):
        raise ValueError(
            f"attempt must lie between 1 and {len(labels) - 1}, the other images of the split, got "
            f"{attempt}; no image is left to stand in for image {index}"
        )
    same = np.flatnonzero(labels == labels[index])
    if attempt < len(same):
        return int(same[(np.searchsorted(same, index) + attempt) % len(same)])
    others = np.flatnonzero(labels != labels[index])
    return int(others[(np.searchsorted(others, index) + attempt - len(same)) % len(others)])
