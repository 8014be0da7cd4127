"""Hugging Face image data sets: parquet shards with the columns `image` and `label`.

`image` is a struct of `bytes` and `path`, or binary; class names come from the metadata that the
`datasets` library writes. The unit of reading is a row group, of which the last is kept: reading
in order is fast, reading at random reads a whole group for each image, so pack such a set first.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainers.data.source import Ids, Labels, Source, pack_ids


class Parquet(Source):
    """Shards in order of name; an id is the path in `image`, or FILE/ROW if not all have one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Opens shards; a folder stands for all `*.parquet` in it and below.

        Raises:
            ValueError: If there is no shard, or one is damaged or has other columns.
        """
        self.name = f"parquet {', '.join(map(str, paths))}"
        self.shards = _find_shards(paths)
        opened = [_open_shard(shard) for shard in self.shards]
        if len({file.schema_arrow.remove_metadata() for file in opened}) > 1:
            raise ValueError(
                f"all shards of a set must have the same columns, and those of {self.name} have "
                "not; name the shards of one split only"
            )
        self.labels = np.concatenate(
            [_read_labels(file, shard) for file, shard in zip(opened, self.shards, strict=True)]
        )
        self.classes = _class_names(opened[0], self.labels, self.name)
        self.ids = _read_ids(opened, self.shards)
        groups = [
            (shard, group, file.metadata.row_group(group).num_rows)
            for shard, file in enumerate(opened)
            for group in range(file.num_row_groups)
        ]
        self._groups = [(shard, group) for shard, group, _ in groups]
        self._starts = np.cumsum([0, *(rows for _, _, rows in groups)])
        self._last: tuple[int, Any] | None = None
        for file in opened:
            file.close()

    def read(self, index: int) -> bytes:
        place = range(len(self))[index]
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        if self._last is None or self._last[0] != number:
            self._last = number, self._read_group(number)
        image = self._last[1][place - int(self._starts[number])].as_py()
        data: bytes | None = image["bytes"] if isinstance(image, dict) else image
        return data or b""

    def checksum(self, index: int) -> int | None:
        return None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_last": None}

    def _read_group(self, number: int) -> Any:
        shard, group = self._groups[number]
        try:
            with pq.ParquetFile(self.shards[shard]) as file:
                return file.read_row_group(group, columns=["image"], use_threads=False).column(0)
        except (OSError, pa.ArrowException) as error:
            raise OSError(f"row group {group} of {self.shards[shard]}: {error}") from error


def _find_shards(paths: Sequence[Path]) -> tuple[Path, ...]:
    for path in paths:
        if not path.exists():
            raise ValueError(f"parquet shards must be files or folders, and {path} is not there")
    found = [
        shard
        for path in paths
        for shard in (sorted(path.rglob("*.parquet")) if path.is_dir() else [path])
    ]
    if not found:
        raise ValueError(
            f"a parquet set needs at least one shard, and {', '.join(map(str, paths))} has no "
            "*.parquet file; name the folder that holds one split"
        )
    return tuple(found)


def _open_shard(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(path, error) from error
    columns = {field.name: field.type for field in file.schema_arrow}
    if missing := {"image", "label"} - set(columns):
        raise ValueError(
            f"a parquet set needs the columns image and label, and {path} lacks "
            f"{' and '.join(sorted(missing))}; it has {', '.join(columns)}; rename its columns"
        )
    image = columns["image"]
    fields = {field.name: field.type for field in image} if pa.types.is_struct(image) else {}
    content = fields.get("bytes", image)
    if not (pa.types.is_binary(content) or pa.types.is_large_binary(content)):
        raise ValueError(
            f"the column image must be binary or a struct with binary bytes, and that of {path} is "
            f"{image}; write it with datasets.Image()"
        )
    if not pa.types.is_integer(columns["label"]):
        raise ValueError(
            f"the column label must be integer, and that of {path} is {columns['label']}; write it "
            "with datasets.ClassLabel()"
        )
    return file


def _read_labels(file: pq.ParquetFile, shard: Path) -> Labels:
    column = _read_leaf(file, shard, "label")
    if column.null_count:
        raise ValueError(
            f"every image must have a label, and {column.null_count} have none; take a labelled "
            "split"
        )
    return np.asarray(column.to_numpy(), np.int64)


def _class_names(file: pq.ParquetFile, labels: Labels, name: str) -> tuple[str, ...]:
    if not len(labels):
        raise ValueError(f"a source must have images, and {name} has none")
    least, most = int(labels.min()), int(labels.max())
    if least < 0:
        raise ValueError(
            f"labels must be 0 or more, and those of {name} begin with {least}; -1 marks a split "
            "without labels: take another"
        )
    names = _stored_names(file, name) or tuple(map(str, range(most + 1)))
    if most >= len(names):
        raise ValueError(
            f"labels must lie between 0 and {len(names) - 1}, for the metadata of {name} name "
            f"{len(names)} classes, and reach {most}; write it with datasets.ClassLabel()"
        )
    return names


def _stored_names(file: pq.ParquetFile, name: str) -> tuple[str, ...]:
    """Returns the names of classes in the metadata; none where they are not from `datasets`."""
    metadata = file.schema_arrow.metadata or {}
    try:
        stored = json.loads(metadata.get(b"huggingface", b"{}"))
        names = stored.get("info", {}).get("features", {}).get("label", {}).get("names") or []
        if isinstance(names, list) and all(isinstance(each, str) for each in names):
            return tuple(names)
        reason = f"names is {names!r}"
    except (ValueError, AttributeError) as error:
        reason = str(error)
    raise ValueError(
        f"the huggingface metadata of {name} must be as datasets writes them, with a list of names "
        f"at info.features.label.names: {reason}; write it again, or without them"
    )


def _read_ids(files: Sequence[pq.ParquetFile], shards: Sequence[Path]) -> Ids:
    paths: list[str | None] = []
    for file, shard in zip(files, shards, strict=True):
        kind = file.schema_arrow.field("image").type
        if pa.types.is_struct(kind) and any(field.name == "path" for field in kind):
            # Only this leaf is read, not the images beside it.
            paths += _read_leaf(file, shard, "image.path").to_pylist()
        else:
            paths += [None] * _rows(file)
    named = [path for path in paths if path is not None]
    if len(named) == len(paths) == len(set(named)):
        return pack_ids(named)
    if len({shard.name for shard in shards}) < len(shards):
        raise ValueError(
            "shards must have different names where the column image has no paths, for both make "
            f"the ids; got {', '.join(map(str, shards[:10]))}"
        )
    return pack_ids(
        f"{shard.name}/{row}"
        for shard, file in zip(shards, files, strict=True)
        for row in range(_rows(file))
    )


def _read_leaf(file: pq.ParquetFile, shard: Path, name: str) -> Any:
    try:
        return file.read(columns=[name]).flatten().column(0)
    except (OSError, pa.ArrowException) as error:
        raise _no_shard(shard, error) from error


def _no_shard(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} must be a parquet file; fetch it again: {str(error).strip()}")


def _rows(file: pq.ParquetFile) -> int:
    return file.metadata.num_rows
