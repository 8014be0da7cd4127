"""A packed data set: a folder with all image files in one, and what is needed to find them.

    images.bin  the encoded files, one after another
    index.bin   offsets of the images (n + 1 int64), offsets of the ids (n + 1 int64), labels
                (n int64), CRC-32 of the images (n uint32), the letters of the ids; little-endian
    meta.json   the version, classes, counts, how it was packed, and the SHA-256 of index.bin

Both binary files are memory-mapped: opening reads no image, and processes share the pages.
"""

import hashlib
import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from models.config import Config
from trainers.atomic import write_atomically
from trainers.data.decode import BadImage
from trainers.data.source import Ids, Labels, Source

FORMAT = 1
"""Version of the files; a reader refuses all others."""
IMAGES, INDEX, META = "images.bin", "index.bin", "meta.json"


class PackOptions(Config):
    """What decides the bytes of a packed image."""

    max_side: int = Field(ge=1)
    """Greatest short side, in pixels; larger images are shrunk to it."""
    quality: int = Field(ge=1, le=100)
    """JPEG quality of the images that are shrunk."""


class PackedMeta(Config):
    """The content of meta.json."""

    format: Literal[1]
    classes: tuple[str, ...]
    images: int
    image_bytes: int
    """Size of images.bin."""
    id_bytes: int
    """Size of the ids in index.bin."""
    index_sha256: str
    options: PackOptions
    source: str
    """Name of what was packed."""
    source_fingerprint: str
    shrunk: int
    """Images that were re-encoded; the others are byte for byte those of the source."""
    bad: tuple[BadImage, ...]
    """Images of the source that were left out."""


@dataclass(frozen=True, kw_only=True)
class PackedIndex:
    """What index.bin holds."""

    offsets: npt.NDArray[np.int64]  # (n + 1,)
    labels: Labels
    checksums: npt.NDArray[np.uint32]  # (n,)
    ids: Ids


class Packed(Source):
    """A packed data set, read at random through memory maps."""

    def __init__(self, path: Path) -> None:
        """Opens `path` and verifies its index, but no image: that is what `check` is for.

        Raises:
            ValueError: If a part is missing, of another version or size, or damaged.
        """
        self.path = path
        self.meta = read_meta(path)
        self.name = f"packed {path}"
        self.classes = self.meta.classes
        self._map()
        if hashlib.sha256(self._index_bytes).hexdigest() != self.meta.index_sha256:
            raise ValueError(
                f"{path / INDEX} must have the SHA-256 that {META} names, and has another: it is "
                "damaged or from another set; copy the folder again, or pack it again"
            )

    def read(self, index: int) -> bytes:
        place = range(len(self))[index]
        return self._images[int(self._offsets[place]) : int(self._offsets[place + 1])]

    def checksum(self, index: int) -> int | None:
        return int(self._checksums[index])

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "meta": self.meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Maps the files anew, without hashing the index again."""
        self.path, self.meta = state["path"], state["meta"]
        self.name = f"packed {self.path}"
        self.classes = self.meta.classes
        self._map()

    def _map(self) -> None:
        size = index_size(images=self.meta.images, id_bytes=self.meta.id_bytes)
        self._images = _map_file(self.path / IMAGES, self.meta.image_bytes)
        self._index_bytes = _map_file(self.path / INDEX, size)
        index = _parse_index(self._index_bytes, self.meta)
        self.labels, self.ids = index.labels, index.ids
        self._offsets, self._checksums = index.offsets, index.checksums


def is_packed(path: Path) -> bool:
    """Says whether `path` is a finished packed data set."""
    return (path / META).is_file()


def read_meta(path: Path) -> PackedMeta:
    """Reads meta.json of the packed data set at `path`.

    Raises:
        ValueError: If `path` is no packed data set, or one of another version.
    """
    if not is_packed(path):
        raise ValueError(
            f"a packed data set is a folder with {META}, {INDEX} and {IMAGES}, and {path} has no "
            f"{META}; make one with `rampart data pack`"
        )
    try:
        stored = json.loads((path / META).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path / META} must be JSON: {error}; copy the folder again, or pack it again"
        ) from None
    version = stored.get("format") if isinstance(stored, dict) else None
    if version != FORMAT:
        raise ValueError(
            f"{path / META} must have format {FORMAT}, got {version}; pack it again with this "
            "version of rampart"
        )
    try:
        return PackedMeta.model_validate(stored)
    except ValidationError as error:
        raise ValueError(
            f"{path / META} must have the fields of a packed data set; pack it again: {error}"
        ) from None


def index_size(*, images: int, id_bytes: int) -> int:
    """Returns the size of index.bin in bytes."""
    return 8 * (images + 1) * 2 + 8 * images + 4 * images + id_bytes


def write_index(path: Path, index: PackedIndex) -> str:
    """Writes index.bin into the folder `path` and returns its SHA-256."""
    data = b"".join(
        [
            index.offsets.astype("<i8").tobytes(),
            index.ids.offsets.astype("<i8").tobytes(),
            index.labels.astype("<i8").tobytes(),
            index.checksums.astype("<u4").tobytes(),
            index.ids.letters.tobytes(),
        ]
    )
    write_atomically(path / INDEX, data)
    return hashlib.sha256(data).hexdigest()


def write_meta(path: Path, meta: PackedMeta) -> None:
    """Writes meta.json into the folder `path`; comes last, for it says that the rest is there."""
    write_atomically(path / META, meta.model_dump_json(indent=1) + "\n")


def _parse_index(data: mmap.mmap, meta: PackedMeta) -> PackedIndex:
    n = meta.images
    words = np.frombuffer(data, "<i8", count=3 * n + 2)
    letters = np.frombuffer(data, np.uint8, offset=len(data) - meta.id_bytes)
    return PackedIndex(
        offsets=words[: n + 1],
        ids=Ids(words[n + 1 : 2 * n + 2], letters),
        labels=words[2 * n + 2 :],
        checksums=np.frombuffer(data, "<u4", count=n, offset=words.nbytes),
    )


def _map_file(path: Path, size: int) -> mmap.mmap:
    if not path.is_file():
        raise ValueError(
            f"a packed data set needs {path.name}, and {path} is not there; copy the folder again, "
            "or pack it again"
        )
    if path.stat().st_size != size:
        raise ValueError(
            f"{path} must have {size} bytes, as {META} says, and has {path.stat().st_size}; copy "
            "the folder again, or pack it again"
        )
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
