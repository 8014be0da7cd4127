"""The embedded task: which photograph is this crop from? Needs no download.

Each photograph in `PHOTO_CLASSES` is a class. It is cut into a grid of cells, each cell belongs to
one split, and a crop stays inside one cell, so splits share no pixel. Image i has class
i % num_classes and depends only on (seed, split, i): a small split is the beginning of a larger
one.
"""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from PIL import Image

from trainers.data.config import PHOTO_CLASSES, PhotosConfig
from trainers.data.images import ImageSet

Split = Literal["train", "select", "test"]
Photograph = npt.NDArray[np.uint8]  # (height, width, 3)

SPLITS: tuple[Split, ...] = ("train", "select", "test")
LONGEST_SIDE = 640
"""Larger photographs are shrunk by an integer, so that each pixel still belongs to one cell."""
CELL_SIDE = 64
"""Cells are at least this wide and high, in pixels."""
CROP_SIDES = (32, 64)
"""Least and greatest side of a crop, in pixels."""
LEAST_CONTRAST = 8.0
"""A crop is drawn again if the standard deviation over its pixels (scale 0 to 255, mean of the
channels) is below this: black sky says nothing about its photograph."""
MOST_DRAWS = 16
"""After so many flat crops in a row the least flat of them is taken."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A rectangle of a photograph; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def load_split(config: PhotosConfig, split: Split) -> ImageSet:
    """Cuts the images of one split; takes about 0.1 ms for each."""
    return cut_split(load_photographs(), config, split)


@functools.cache
def load_photographs() -> tuple[Photograph, ...]:
    """Returns the photographs in the order of `PHOTO_CLASSES`, in RGB, shrunk if very large."""
    return tuple(_load_photograph(name) for name in PHOTO_CLASSES)


def cut_split(photographs: Sequence[Photograph], config: PhotosConfig, split: Split) -> ImageSet:
    """Cuts the images of `split` out of `photographs`; class k is `photographs[k]`."""
    cells = [
        assign_cells(height=photo.shape[0], width=photo.shape[1], seed=config.seed, label=label)
        for label, photo in enumerate(photographs)
    ]
    count = {
        "train": config.train_images,
        "select": config.select_images,
        "test": config.test_images,
    }[split]
    labels = [i % len(photographs) for i in range(count)]
    images = [
        _draw_image(
            photographs[label],
            cells[label][split],
            resolution=config.resolution,
            rng=np.random.default_rng([config.seed, SPLITS.index(split), i]),
        )
        for i, label in enumerate(labels)
    ]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return ImageSet(images=pixels.contiguous(), labels=torch.tensor(labels))


def assign_cells(*, height: int, width: int, seed: int, label: int) -> dict[Split, list[Cell]]:
    """Deals the cells of one photograph to the splits: a fifth each to select and test, by lot.

    The pixels have no say, so that no split can leak into another through the choice of cells.
    """
    cells = _grid(height, width)
    order = np.random.default_rng([seed, label]).permutation(len(cells))
    shuffled = [cells[i] for i in order]
    fifth = max(1, round(len(cells) / 5))
    return {
        "select": shuffled[:fifth],
        "test": shuffled[fifth : 2 * fifth],
        "train": shuffled[2 * fifth :],
    }


def _load_photograph(name: str) -> Photograph:
    image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    factor = -(-max(image.size) // LONGEST_SIDE)
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def _grid(height: int, width: int) -> list[Cell]:
    rows = [height * i // (height // CELL_SIDE) for i in range(height // CELL_SIDE + 1)]
    columns = [width * i // (width // CELL_SIDE) for i in range(width // CELL_SIDE + 1)]
    return [
        Cell(left=left, top=top, right=right, bottom=bottom)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]


def _draw_image(
    photo: Photograph, cells: Sequence[Cell], *, resolution: int, rng: np.random.Generator
) -> Photograph:
    best = _draw_crop(photo, cells, resolution=resolution, rng=rng)
    for _ in range(MOST_DRAWS - 1):
        if _contrast(best) >= LEAST_CONTRAST:
            break
        best = max(best, _draw_crop(photo, cells, resolution=resolution, rng=rng), key=_contrast)
    return best


def _contrast(image: Photograph) -> float:
    return float(image.std(axis=(0, 1)).mean())


def _draw_crop(
    photo: Photograph, cells: Sequence[Cell], *, resolution: int, rng: np.random.Generator
) -> Photograph:
    cell = cells[int(rng.integers(len(cells)))]
    side = int(rng.integers(CROP_SIDES[0], CROP_SIDES[1], endpoint=True))
    left = int(rng.integers(cell.left, cell.right - side, endpoint=True))
    top = int(rng.integers(cell.top, cell.bottom - side, endpoint=True))
    # Cropped before it is resized: Pillow's `resize(box=...)` also reads pixels around the box.
    crop = Image.fromarray(photo[top : top + side, left : left + side])
    return np.asarray(crop.resize((resolution, resolution), Image.Resampling.BILINEAR))
