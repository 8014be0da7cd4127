"""Image files in folders, in torchvision's ImageFolder layout: ROOT/CLASS/.../FILE."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from trainers.data.source import Labels, Source, pack_ids

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of image files, upper or lower case; torchvision's."""


class Files(Source):
    """Files below one folder; an id is the path from there, with `/` on every system."""

    def __init__(
        self, *, name: str, root: Path, classes: tuple[str, ...], labels: Labels, ids: Iterable[str]
    ) -> None:
        self.name = name
        self.root = root
        self.classes = classes
        self.labels = labels
        self.ids = pack_ids(ids)

    def read(self, index: int) -> bytes:
        return (self.root / self.ids[index]).read_bytes()

    def checksum(self, index: int) -> int | None:
        return None


def open_folder(path: Path) -> Files:
    """Opens `path`/CLASS/.../FILE: classes and files in order of name, as torchvision has them.

    Raises:
        ValueError: If there is no such folder, no class folder, a class without images, or a folder
            that may not be read.
    """
    if not path.is_dir():
        raise ValueError(
            f"an image folder must be a folder with one folder for each class, and {path} is "
            f"{'a file' if path.exists() else 'not there'}; name the folder that holds one split"
        )
    try:
        classes = tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_dir()))
    except OSError as error:
        _refuse_unreadable(error)
    if not classes:
        raise ValueError(
            f"an image folder must have one folder for each class, and {path} has none; expected "
            f"{path}/CLASS/IMAGE.jpg"
        )
    files = [list(_images(path / name, path)) for name in classes]
    if empty := [name for name, found in zip(classes, files, strict=True) if not found]:
        raise ValueError(
            f"every class must have an image, and {len(empty)} of {len(classes)} folders in {path} "
            f"have none: {', '.join(empty[:10])}; remove them, or add {', '.join(EXTENSIONS)} files"
        )
    return Files(
        name=f"folder {path}",
        root=path,
        classes=classes,
        labels=np.repeat(np.arange(len(classes)), [len(found) for found in files]),
        ids=(file for found in files for file in found),
    )


def _images(folder: Path, root: Path) -> Iterator[str]:
    # os.walk and the order of its sorted tuples: what torchvision does, also in nested folders.
    walk = os.walk(folder, onerror=_refuse_unreadable, followlinks=True)
    for parent, _, names in sorted(walk):
        below = Path(parent).relative_to(root).as_posix()
        for name in sorted(names):
            if name.lower().endswith(EXTENSIONS):
                yield f"{below}/{name}"


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise ValueError(
        f"every folder of images must be readable, and {error.filename} is not: {error.strerror}; "
        "change its permissions"
    ) from error
