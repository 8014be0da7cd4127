"""A subset is data: which images, with which labels, and a hash that names it."""

import functools
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import model_validator

from models.config import Config
from trainers.atomic import write_atomically
from trainers.data.source import Indices, Source

BIG = 10_000
"""From so many images on, a manifest is stored compressed."""
NAMED = 10
"""Images that an error names."""
_DAMAGED = (OSError, EOFError, zlib.error, ValueError, KeyError, AttributeError, TypeError)
"""What reading a file that is no manifest raises."""


class Manifest(Config):
    """Images by id, each with its label among the classes that were kept."""

    source: str
    """Name of the source it was made from; not part of the hash."""
    classes: tuple[str, ...]
    """Label k is called `classes[k]`."""
    ids: tuple[str, ...]
    labels: tuple[int, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> "Manifest":
        if not self.ids or len(self.ids) != len(self.labels):
            raise ValueError(
                f"a manifest needs images, each with one label, got {len(self.ids)} ids and "
                f"{len(self.labels)} labels"
            )
        if len(set(self.ids)) != len(self.ids):
            raise ValueError(
                f"the ids of a manifest must differ, got {len(self.ids) - len(set(self.ids))} twice"
            )
        if min(self.labels) < 0 or max(self.labels) >= len(self.classes):
            raise ValueError(
                f"labels must lie between 0 and {len(self.classes) - 1}, got {min(self.labels)} to "
                f"{max(self.labels)}"
            )
        return self

    def __len__(self) -> int:
        return len(self.ids)

    @functools.cached_property
    def hash(self) -> str:
        """12 hex digits for classes, ids and labels in their order, wherever the images lie."""
        content = json.dumps([self.classes, self.ids, self.labels])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def make_manifest(source: Source, indices: Indices, *, classes: Sequence[int]) -> Manifest:
    """Names the images at `indices`; label k is the k-th of `classes`, which are the source's.

    Raises:
        ValueError: If an image is of none of `classes`, or there is no image.
    """
    outside = indices[~np.isin(source.labels[indices], np.array(classes))]
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"the images of a manifest must be of its classes, and {len(outside)} are not: "
            f"{source.ids[first]} is of {source.classes[source.labels[first]]}; keep that class, "
            "or leave them out"
        )
    relabel = np.full(len(source.classes), -1)
    relabel[list(classes)] = np.arange(len(classes))
    return Manifest(
        source=source.name,
        classes=tuple(source.classes[label] for label in classes),
        ids=tuple(source.ids_at(indices)),
        labels=tuple(relabel[source.labels[indices]].tolist()),
    )


def index_of(source: Source, manifest: Manifest) -> Indices:
    """Returns where the images of `manifest` are in `source`, in its order.

    Raises:
        ValueError: If `source` lacks some, or has them under other classes.
    """
    indices = find_ids(source, manifest.ids, key=str)
    expected = [manifest.classes[label] for label in manifest.labels]
    found = [source.classes[label] for label in source.labels[indices].tolist()]
    if wrong := [i for i, name in enumerate(expected) if name != found[i]]:
        first = wrong[0]
        raise ValueError(
            f"the manifest's images must have the same classes in {source.name}, and {len(wrong)} "
            f"have not: {manifest.ids[first]} is {expected[first]!r} in the manifest and "
            f"{found[first]!r} there; take the source it was made from, {manifest.source}"
        )
    return indices


def find_ids(source: Source, ids: Sequence[str], *, key: Callable[[str], str]) -> Indices:
    """Returns the places of `ids` in `source`, in the order of `ids`.

    Args:
        key: What of an id must agree; `str` for all of it.

    Raises:
        ValueError: If some are not there; names the first ten.
    """
    wanted = {key(text): place for place, text in enumerate(ids)}
    indices = np.full(len(ids), -1, np.int64)
    for index, text in enumerate(source.ids):
        if (place := wanted.get(key(text))) is not None:
            indices[place] = index
    if missing := [ids[i] for i in np.flatnonzero(indices < 0).tolist()]:
        raise ValueError(
            f"{source.name} must have every listed image, and lacks {len(missing)} of {len(ids)}: "
            f"{', '.join(missing[:NAMED])}; its ids look like {source.ids[0]}"
        )
    return indices


def differences(before: Manifest, after: Manifest) -> str:
    """Says in words what `after` changed, by id and name of class; empty where nothing did."""
    old, new = _classes_by_id(before), _classes_by_id(after)
    gone = [name for name in before.ids if name not in new]
    added = [name for name in after.ids if name not in old]
    moved = [
        f"{name} ({old[name]}, now {new[name]})"
        for name in before.ids
        if old[name] != new.get(name, old[name])
    ]
    found = [
        *_such_as(gone, "image is gone", "images are gone"),
        *_such_as(added, "image is new", "images are new"),
        *_such_as(moved, "image changed class", "images changed class"),
    ]
    if not found and before.classes != after.classes:
        found.append("the classes are others, or in another order")
    if not found and before.ids != after.ids:
        found.append("the images are in another order")
    return "; ".join(found)


def write_manifest(path: Path, manifest: Manifest) -> Path:
    """Writes JSON to `path`, or to `path` with `.gz` if there are many images; returns which."""
    text = json.dumps({"hash": manifest.hash} | manifest.model_dump(mode="json"), indent=1) + "\n"
    if len(manifest) < BIG:
        write_atomically(path, text)
        return path
    compressed = path.with_name(f"{path.name}.gz")
    write_atomically(compressed, gzip.compress(text.encode(), mtime=0))
    return compressed


def read_manifest(path: Path) -> Manifest:
    """Reads what `write_manifest` wrote.

    Raises:
        ValueError: If the file is not a manifest, or was changed since.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        stored: dict[str, Any] = json.loads(text)
        hash_then = stored.pop("hash")
    except _DAMAGED as error:
        raise ValueError(
            f"{path} must be a manifest, JSON with a hash; write it again ({error!r})"
        ) from error
    manifest = Manifest.model_validate(stored)
    if manifest.hash != hash_then:
        raise ValueError(
            f"the manifest {path} must have the hash {hash_then} that it was written with, and has "
            f"{manifest.hash}: it was edited; make a new one"
        )
    return manifest


def _classes_by_id(manifest: Manifest) -> dict[str, str]:
    names = (manifest.classes[label] for label in manifest.labels)
    return dict(zip(manifest.ids, names, strict=True))


def _such_as(images: Sequence[str], one: str, many: str) -> list[str]:
    if not images:
        return []
    what = one if len(images) == 1 else many
    return [f"{len(images)} {what}, such as {', '.join(images[:NAMED])}"]
