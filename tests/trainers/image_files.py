"""Small image files for the tests of data: folders, parquet shards, packed sets; and no files."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from trainers.data.folder import Files, open_folder
from trainers.data.pack import pack
from trainers.data.packed import PackedMeta
from trainers.data.source import Source


def noise(seed: int, *, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def make_folder(root: Path, *, classes: Sequence[str], per_class: int, side: int) -> Files:
    """Writes `per_class` JPEG files of each class, all different, slightly wider than high."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            image = noise(1000 * label + i, width=side + i % 3, height=side)
            (root / name / f"img_{i:04d}.JPEG").write_bytes(encode(image, "JPEG"))
    return open_folder(root)


def make_parquet(path: Path, source: Source, *, rows: Sequence[int], group: int) -> None:
    """Writes the images at `rows` as `datasets` does, `group` of them in each row group."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(source.classes), "_type": "ClassLabel"},
    }
    images = [{"bytes": source.read(i), "path": source.ids[i]} for i in rows]
    table = pa.table(
        {"image": images, "label": [int(source.labels[i]) for i in rows]}
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)


class Listed(Source):
    """Ids and labels without files, for what reads no image."""

    def __init__(self, ids: Sequence[str], labels: Sequence[int], classes: Sequence[str]) -> None:
        self.name = "listed"
        self.ids = tuple(ids)
        self.labels = np.array(labels, np.int64)
        self.classes = tuple(classes)

    def read(self, index: int) -> bytes:
        raise FileNotFoundError(self.ids[index])

    def checksum(self, index: int) -> int | None:
        return None


def listed(sizes: Sequence[int]) -> Listed:
    """A source whose class k is called `ck` and has `sizes[k]` images."""
    names = [f"c{k}" for k in range(len(sizes))]
    ids = [f"{name}/{i}" for name, size in zip(names, sizes, strict=True) for i in range(size)]
    labels = [k for k, size in enumerate(sizes) for _ in range(size)]
    return Listed(ids, labels, names)


PACKED_FILES = ["images.bin", "index.bin", "meta.json"]


def contents(dest: Path) -> dict[str, bytes]:
    """The files of a packed set, of which there are no others."""
    assert sorted(file.name for file in dest.iterdir()) == PACKED_FILES
    return {name: (dest / name).read_bytes() for name in PACKED_FILES}


def silent(done: int, images: int) -> None:
    assert done <= images


def pack_quietly(
    source: Source, dest: Path, *, max_side: int = 8, quality: int = 90, max_bad: float = 0.0
) -> PackedMeta:
    return pack(
        source, dest, max_side=max_side, quality=quality, max_bad=max_bad, workers=1,
        on_progress=silent,
    )  # fmt: skip


def break_files(source: Files) -> tuple[int, ...]:
    """Truncates, empties, and removes one file each, and returns which."""
    whole = source.read(3)
    (source.root / source.ids[3]).write_bytes(whole[:-80])
    (source.root / source.ids[5]).write_bytes(b"")
    (source.root / source.ids[12]).unlink()
    return 3, 5, 12
