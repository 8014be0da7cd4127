"""How fast stored images become training crops, one process, against torchvision's loader.

`python -m benchmarks.loading`: makes JPEGs of ImageNet's size in a temporary folder, keeps them as
a folder, packed as they are, packed at a shorter side of 300, and as parquet, and reads each with
random crops to 224 px. Ratios are taken turn by turn; everything is in the page cache.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import Compose, PILToTensor, RandomResizedCrop

from benchmarks.timing import ratio, time_in_turns
from trainers.data.images import Batch
from trainers.data.open import open_source
from trainers.data.pack import pack
from trainers.data.source import Source, SourceKind
from trainers.data.stored import Stored, StoredImages

WIDTH, HEIGHT, QUALITY = 500, 375, 90
"""The commonest size in ImageNet; with the texture below, 90 to 120 kB in a file."""
CLASSES, SIDE, SCALE, BATCH = 10, 224, 0.08, 64
THEIRS = "torchvision ImageFolder + DataLoader"


def write_jpegs(folder: Path, count: int) -> None:
    """Writes smooth noise with some grain, so that the files are as large as photographs'."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(256, size=(24, 32, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        grain = rng.normal(0, 12, size=(HEIGHT, WIDTH, 1))
        pixels = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
        file = folder / f"c{i % CLASSES}" / f"{i:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, quality=QUALITY)


def write_parquet(source: Source, file: Path) -> None:
    """Writes the images of `source` as Hugging Face does, 100 to a row group."""
    places = range(len(source))
    names = {"info": {"features": {"label": {"names": source.classes, "_type": "ClassLabel"}}}}
    table = pa.table(
        {
            "image": [{"bytes": source.read(i), "path": source.ids[i]} for i in places],
            "label": source.labels,
        }
    ).replace_schema_metadata({"huggingface": json.dumps(names)})
    pq.write_table(table, file, row_group_size=100)


def write_stores(root: Path, count: int) -> dict[str, tuple[SourceKind, Path]]:
    """Writes `count` images in every form; returns the kind and the place of each."""
    write_jpegs(root / "folder", count)
    source = open_source("folder", root / "folder")
    _pack(source, root / "packed", max_side=10_000)
    _pack(source, root / "packed300", max_side=300)
    (root / "parquet").mkdir()
    write_parquet(source, root / "parquet" / "train-00000-of-00001.parquet")
    return {
        "folder": ("folder", root / "folder"),
        "packed": ("packed", root / "packed"),
        "packed, shorter side 300": ("packed", root / "packed300"),
        "parquet": ("parquet", root / "parquet"),
    }


def stored_images(kind: SourceKind, path: Path, *, loaders: int) -> StoredImages:
    """Opens a whole source as a train split."""
    source = open_source(kind, path)
    return StoredImages(
        Stored(
            source=source,
            index=np.arange(len(source)),
            classes=tuple(range(len(source.classes))),
        ),
        extra=None,
        crop_scale=SCALE,
        crop_share=0.875,
        seed=0,
        max_bad=0.0,
        loaders=loaders,
    )


def reader(kind: SourceKind, path: Path) -> Callable[[], object]:
    """Returns a call that reads every image of a source once, in a random order."""
    images = stored_images(kind, path, loaders=0)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    batches = [Batch(index=index, side=SIDE) for index in order.split(BATCH)]
    return lambda: _drain(images.stream(batches, epoch=0))


def their_reader(folder: Path) -> Callable[[], object]:
    """Returns the same for torchvision."""
    crop = RandomResizedCrop(SIDE, (SCALE, 1), interpolation=InterpolationMode.BICUBIC)
    loader = DataLoader(
        ImageFolder(str(folder), transform=Compose([PILToTensor(), crop])),
        batch_size=BATCH,
        shuffle=True,
    )
    return lambda: _drain(iter(loader))


def count_opens(call: Callable[[], object]) -> int:
    """Returns how many files Python opens during `call`."""
    opened = 0
    is_on = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal opened
        del arguments
        opened += is_on and event == "open"

    sys.addaudithook(note)  # cannot be taken away again
    call()
    is_on = False
    return opened


def main() -> None:
    """Prints images per second and files opened for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        stores = write_stores(root, options.images)
        candidates = {THEIRS: their_reader(root / "folder")}
        candidates |= {name: reader(kind, path) for name, (kind, path) in stores.items()}
        seconds = time_in_turns(
            candidates, rounds=options.rounds, steps=1, device=torch.device("cpu")
        )
        for name, call in candidates.items():
            speed = options.images / float(np.median(seconds[name]))
            print(  # noqa: T201
                f"{name:38s} {speed:7.0f} images/s  {ratio(seconds[THEIRS], seconds[name]):5.2f} x"
                f"  {count_opens(call) / options.images:5.2f} files opened per image"
            )


def _pack(source: Source, dest: Path, *, max_side: int) -> None:
    pack(
        source,
        dest,
        max_side=max_side,
        quality=QUALITY,
        max_bad=0.0,
        workers=2,
        on_progress=lambda done, total: None,
    )


def _drain(batches: Iterator[object]) -> None:
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
