"""The embedded task: disjoint splits, proved by rectangles and by pixels; seed-stable images."""

import itertools

import numpy as np
import pytest
import torch

from trainers.data.config import PHOTO_CLASSES, PhotosConfig
from trainers.data.photos import (
    CELL_SIDE,
    CROP_SIDES,
    LEAST_CONTRAST,
    SPLITS,
    Cell,
    Photograph,
    Split,
    assign_cells,
    cut_split,
    load_photographs,
    load_split,
)

SMALL = PhotosConfig(
    source="photos", resolution=16, train_images=48, select_images=24, test_images=24, seed=3
)


def cells_of(label: int, photo: Photograph) -> dict[Split, list[Cell]]:
    return assign_cells(height=photo.shape[0], width=photo.shape[1], seed=SMALL.seed, label=label)


def overlap(a: Cell, b: Cell) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def test_cells_tile_the_photograph_and_belong_to_one_split_each() -> None:
    for label, photo in enumerate(load_photographs()):
        splits = cells_of(label, photo)
        cells = list(itertools.chain.from_iterable(splits.values()))

        area = sum((c.right - c.left) * (c.bottom - c.top) for c in cells)
        assert area == photo.shape[0] * photo.shape[1]
        assert not any(overlap(a, b) for a, b in itertools.combinations(cells, 2))
        assert all(splits[split] for split in SPLITS)


def test_a_fifth_of_the_cells_each_goes_to_select_and_test() -> None:
    splits = assign_cells(height=5 * CELL_SIDE, width=5 * CELL_SIDE, seed=0, label=0)

    assert {split: len(cells) for split, cells in splits.items()} == {
        "train": 15,
        "select": 5,
        "test": 5,
    }


def test_the_greatest_crop_fits_into_every_cell() -> None:
    for label, photo in enumerate(load_photographs()):
        for cell in itertools.chain.from_iterable(cells_of(label, photo).values()):
            assert min(cell.right - cell.left, cell.bottom - cell.top) >= CROP_SIDES[1]


@pytest.mark.parametrize("split", SPLITS)
def test_painting_over_the_other_splits_changes_no_image(split: Split) -> None:
    painted = [photo.copy() for photo in load_photographs()]
    for label, photo in enumerate(painted):
        for other in SPLITS:
            for cell in cells_of(label, photo)[other] if other != split else []:
                photo[cell.top : cell.bottom, cell.left : cell.right] = (255, 0, 255)

    after = cut_split(painted, SMALL, split)

    assert any((p != q).any() for p, q in zip(painted, load_photographs(), strict=True))
    assert torch.equal(after.images, load_split(SMALL, split).images)


def test_painting_over_a_split_changes_each_of_its_images() -> None:
    white = [np.full_like(photo, 255) for photo in load_photographs()]

    images = cut_split(white, SMALL, "train").images

    assert (images == 255).all()


def test_images_are_the_same_at_each_call_and_differ_between_seeds() -> None:
    other_seed = SMALL.model_copy(update={"seed": 4})

    assert load_split(SMALL, "train").hash == load_split(SMALL, "train").hash
    assert load_split(SMALL, "train").hash != load_split(other_seed, "train").hash


@pytest.mark.parametrize("split", SPLITS)
def test_a_small_split_is_the_beginning_of_a_larger_one(split: Split) -> None:
    larger = SMALL.model_copy(update={f"{split}_images": 60})
    small = load_split(SMALL, split)

    assert load_split(larger, split).first(len(small)).hash == small.hash


def test_a_split_does_not_depend_on_the_size_of_another() -> None:
    larger = SMALL.model_copy(update={"train_images": 96, "select_images": 96})

    assert load_split(larger, "test").hash == load_split(SMALL, "test").hash


def test_classes_are_balanced_and_take_turns() -> None:
    labels = load_split(SMALL, "select").labels

    assert labels.tolist() == list(range(len(PHOTO_CLASSES))) * 2


def test_images_have_the_resolution_of_the_config_in_rgb() -> None:
    data = load_split(SMALL, "train")

    assert data.images.shape == (48, 3, 16, 16)
    assert data.images.dtype == torch.uint8


def test_no_image_is_nearly_flat() -> None:
    for split in SPLITS:
        pixels = load_split(SMALL, split).images.float().flatten(2)
        contrast = pixels.std(dim=2, correction=0).mean(dim=1)
        assert contrast.min() >= LEAST_CONTRAST - 1e-3
