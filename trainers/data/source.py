"""What every collection of labelled image files offers: one interface, opened in any process.

An image has an index (its place here) and an id (a text that stays its own in every copy of the
collection: a folder, its packed form, its parquet form).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]  # (n,)
Indices = npt.NDArray[np.int64]  # (k,), places in a source

DownloadKind = Literal[
    "cifar10-train",
    "cifar10-test",
    "cifar100-train",
    "cifar100-test",
    "flowers102-train",
    "flowers102-val",
    "flowers102-test",
    "caltech101-train",
    "caltech101-test",
]
"""A split of a set that torchvision can fetch."""
SourceKind = Literal["folder", "packed", "parquet"] | DownloadKind
"""What `open_source` can open."""


class Source(ABC):
    """Labelled image files in a fixed order; can be pickled to worker processes."""

    name: str
    """For messages: the kind and where it is."""
    classes: tuple[str, ...]
    """Label k is called `classes[k]`."""
    labels: Labels
    ids: Sequence[str]
    """Unique; the same image has the same id in a folder and in what was packed from it."""

    def __len__(self) -> int:
        return len(self.labels)

    def ids_at(self, indices: Indices) -> list[str]:
        """Returns the ids of the images at `indices`."""
        places: list[int] = indices.tolist()
        return [self.ids[place] for place in places]

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Returns the encoded file as it is stored.

        Raises:
            OSError: If the storage fails.
        """

    @abstractmethod
    def checksum(self, index: int) -> int | None:
        """Returns the CRC-32 that the file must have; None if the source keeps none."""


class Ids(Sequence[str]):
    """Many texts in one block of bytes: a million of them cost what their letters cost."""

    def __init__(self, offsets: npt.NDArray[np.int64], letters: npt.NDArray[np.uint8]) -> None:
        """Text i is UTF-8 and lies in `letters[offsets[i]:offsets[i + 1]]`."""
        self.offsets = offsets
        self.letters = letters

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place = range(len(self))[index]
        return self.letters[self.offsets[place] : self.offsets[place + 1]].tobytes().decode()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[str]:
        letters = self.letters.tobytes()
        for start, end in pairwise(self.offsets.tolist()):
            yield letters[start:end].decode()


def pack_ids(texts: Iterable[str]) -> Ids:
    """Copies `texts` into one block.

    Raises:
        ValueError: If one cannot be written as UTF-8.
    """
    encoded: list[bytes] = []
    for text in texts:
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError:
            raise ValueError(
                f"an id must be UTF-8, got {text!a}; rename that file or folder"
            ) from None
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return Ids(offsets, np.frombuffer(b"".join(encoded), np.uint8))


def fingerprint(source: Source) -> str:
    """Returns 12 hex digits for ids, labels and classes, wherever and however they are stored."""
    ids = source.ids if isinstance(source.ids, Ids) else pack_ids(source.ids)
    digest = hashlib.sha256(json.dumps(source.classes).encode())
    digest.update(source.labels.astype("<i8").tobytes())
    digest.update(ids.offsets.astype("<i8").tobytes())
    digest.update(ids.letters.tobytes())
    return digest.hexdigest()[:12]
