"""Augmentations against torchvision, timm's definitions and the box [0, 1]."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision.transforms.functional as reference
from tiny_models import any_images
from torch import Tensor
from trial_factory import tiny_trial

from trainers.augment import (
    adjust,
    augment,
    color_jitter,
    grayscale,
    mix,
    pad_crop,
    randaugment,
    random_erasing,
    random_flip,
    random_resized_crop,
    random_rotation,
)

HEAVY = {
    "crop_scale": 0.08,
    "pad_crop": 0.125,
    "flip": 0.5,
    "rotation": 30.0,
    "color_jitter": 0.4,
    "randaugment": 9.5,
    "erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
}
OFF = {"crop_scale": 1.0} | dict.fromkeys(list(HEAVY)[1:], 0.0)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_everything_off_is_the_identity() -> None:
    x, targets = any_images(4), torch.eye(4)

    new_x, new_targets = augment(x, targets, tiny_trial().augment, side=8, generator=stream())

    assert torch.equal(new_x, x)
    assert torch.equal(new_targets, targets)


@pytest.mark.parametrize("only", [*HEAVY, "all"])
def test_each_augmentation_changes_images_and_stays_in_the_box(only: str) -> None:
    switches = HEAVY if only == "all" else OFF | {only: HEAVY[only]}
    config = tiny_trial(augment=switches).augment
    x = any_images(64)
    original = x.clone()

    new_x, targets = augment(x, torch.eye(64), config, side=8, generator=stream())

    assert torch.equal(x, original)
    assert not torch.equal(new_x, x)
    assert new_x.min() >= 0
    assert new_x.max() <= 1
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(64))


def test_the_same_stream_gives_the_same_batch_and_global_streams_stay() -> None:
    config = tiny_trial(augment=HEAVY).augment
    x, targets = any_images(8), torch.eye(8)
    before = random.getstate(), np.random.get_state()[1].tolist()  # pyright: ignore

    first = augment(x, targets, config, side=8, generator=stream(3))
    random.random()
    second = augment(x, targets, config, side=8, generator=stream(3))

    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    random.setstate(before[0])
    augment(x, targets, config, side=8, generator=stream(3))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # pyright: ignore


def test_flip_with_probability_one_mirrors() -> None:
    x = any_images(4)

    assert torch.equal(random_flip(x, probability=1.0, generator=stream()), x.flip(3))


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_color_operations_equal_torchvisions(factor: float) -> None:
    x = any_images(3)
    factors = torch.full((3,), factor)
    mean = grayscale(x).mean(dim=(1, 2, 3), keepdim=True)
    expected = {
        "brightness": reference.adjust_brightness(x, factor),
        "contrast": reference.adjust_contrast(x, factor),
        "saturation": reference.adjust_saturation(x, factor),
    }
    ours = {
        "brightness": adjust(x, torch.zeros_like(x), factors),
        "contrast": adjust(x, mean, factors),
        "saturation": adjust(x, grayscale(x), factors),
    }

    torch.testing.assert_close(ours, expected)


def test_jitter_of_gray_images_leaves_them_gray() -> None:
    x = any_images(8)[:, :1].expand(-1, 3, -1, -1)

    jittered = color_jitter(x, strength=0.4, generator=stream())

    torch.testing.assert_close(jittered[:, 0], jittered[:, 2])


def test_crops_are_boxes_of_the_asked_area_and_aspect() -> None:
    """Ramps along both axes tell which box was cut out; their slopes are its sides."""
    side = 64
    ramp = torch.arange(side).float() / side
    x = torch.stack([ramp.expand(side, side), ramp.view(-1, 1).expand(side, side)])
    x = torch.cat([x, x[:1]]).expand(200, 3, side, side)

    cut = random_resized_crop(x, least_area=0.25, generator=stream())

    width = (cut[:, 0, 32, 48] - cut[:, 0, 32, 16]) * side * 2
    height = (cut[:, 1, 48, 32] - cut[:, 1, 16, 32]) * side * 2
    left = cut[:, 0, 32, 32] * side + 0.5 - 0.5 * width
    area, aspect = width * height / side**2, width / height
    assert ((width - width.round()).abs() < 0.2).all()
    assert 0.23 < area.min() < 0.35
    assert 0.8 < area.max() <= 1.02
    assert 0.72 < aspect.min() < 0.85
    assert 1.2 < aspect.max() < 1.38
    assert (left > -1).all()
    assert (left + width < side + 1).all()


def test_a_crop_of_the_whole_area_is_the_identity() -> None:
    x = any_images(4)

    cut = random_resized_crop(x, least_area=0.99999, generator=stream())

    torch.testing.assert_close(cut, x, atol=1e-5, rtol=0)


def is_box(mask: Tensor) -> bool:
    rows, columns = mask.any(dim=1), mask.any(dim=0)
    return bool(mask.sum() == rows.sum() * columns.sum())


def test_erasing_fills_one_box_of_the_asked_area() -> None:
    x = torch.full((200, 3, 32, 32), -1.0)

    erased = random_erasing(x, probability=0.25, generator=stream())

    masks = (erased != -1).any(dim=1)
    areas = masks.float().mean(dim=(1, 2))
    assert all(is_box(mask) for mask in masks)
    assert 30 <= int((areas > 0).sum()) <= 70
    assert areas[areas > 0].min() > 0.015
    assert areas.max() < 0.35


def test_randaugment_takes_fractions_of_a_magnitude() -> None:
    x = any_images(16)

    results = [randaugment(x, magnitude=m, generator=stream()) for m in (2.0, 2.5)]

    assert not torch.equal(results[0], results[1])


def test_randaugment_survives_the_highest_magnitude() -> None:
    """timm's posterize asks for 0 bits at 10, which Pillow 13 refuses."""
    assert randaugment(any_images(64), magnitude=10.0, generator=stream()).max() <= 1


def test_mixup_keeps_its_share_of_every_pixel() -> None:
    x = any_images(6)

    mixed, share = mix(x, mixup=0.8, cutmix=0.0, generator=stream())

    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * x + (1 - share) * x.flip(0))


def test_cutmix_keeps_its_share_of_pixels() -> None:
    x = any_images(6) + torch.arange(6).view(-1, 1, 1, 1) * 1e-3
    x = x.clamp(0.01, 0.99)

    mixed, share = mix(x, mixup=0.0, cutmix=1.0, generator=stream(1))

    is_own = (mixed == x).all(dim=1)[0]
    assert share == pytest.approx(is_own.float().mean().item())
    assert is_box(~is_own)


def test_mixing_refuses_an_odd_batch() -> None:
    with pytest.raises(ValueError, match="even batch, got 3 images"):
        mix(any_images(3), mixup=0.8, cutmix=0.0, generator=stream())


def test_a_padded_crop_is_a_window_of_the_padded_image_and_every_window_comes() -> None:
    x = any_images(400)
    padded = F.pad(x, (1, 1, 1, 1))

    cropped = pad_crop(x, share=1 / 8, generator=stream())

    windows = [padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    hits = torch.stack([(cropped == window).flatten(1).all(dim=1) for window in windows])
    assert hits.any(dim=0).all()
    assert hits.sum(dim=1).min() > 20


def test_a_rotation_equals_torchvisions() -> None:
    x = any_images(5)
    angles = 30 * (2 * torch.rand(5, generator=stream()) - 1)

    rotated = random_rotation(x, degrees=30.0, generator=stream())

    expected = [
        reference.rotate(image, float(angle)) for image, angle in zip(x, angles, strict=True)
    ]
    torch.testing.assert_close(rotated, torch.stack(expected))


def test_smaller_images_come_out_antialiased() -> None:
    x, targets = any_images(4), torch.eye(4)

    small, _ = augment(x, targets, tiny_trial().augment, side=4, generator=stream())

    expected = F.interpolate(x, size=(4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(small, expected.clamp(0, 1))
