"""Augmentation of float batches on [0, 1]; whatever is switched on, the result is on [0, 1].

Every random number comes from the generator that is handed in, which lives on the CPU: the same
state gives the same batch on every device. The attack comes after augmentation.
"""

import math
import random
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from torch import Tensor

from trainers.config import AugmentConfig
from trainers.losses import mix_targets

TRIES = 10
GRAY = (0.2989, 0.587, 0.114)


def augment(
    x: Float[Tensor, "batch 3 h w"],
    targets: Float[Tensor, "batch classes"],
    config: AugmentConfig,
    *,
    side: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch 3 side side"], Float[Tensor, "batch classes"]]:
    """Applies what `config` switches on, in its order; returns new images and their targets.

    Args:
        side: Of the images that come out; they are made smaller after the crops.

    Raises:
        ValueError: If the batch is odd and MixUp or CutMix is on.
    """
    if config.crop_scale < 1:
        x = random_resized_crop(x, least_area=config.crop_scale, generator=generator)
    if config.pad_crop:
        x = pad_crop(x, share=config.pad_crop, generator=generator)
    if side != x.shape[-1]:
        x = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)
    if config.flip:
        x = random_flip(x, probability=config.flip, generator=generator)
    if config.color_jitter:
        x = color_jitter(x, strength=config.color_jitter, generator=generator)
    if config.rotation:
        x = random_rotation(x, degrees=config.rotation, generator=generator)
    if config.randaugment:
        x = randaugment(x, magnitude=config.randaugment, generator=generator)
    if config.erasing:
        x = random_erasing(x, probability=config.erasing, generator=generator)
    if config.mixup or config.cutmix:
        x, share = mix(x, mixup=config.mixup, cutmix=config.cutmix, generator=generator)
        targets = mix_targets(targets, share)
    return x, targets


def random_resized_crop(
    x: Float[Tensor, "batch 3 h w"], *, least_area: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Cuts out U(least_area, 1) of the area at an aspect in 3/4..4/3, and resizes it bicubically.

    An image whose ten candidates all stick out keeps its whole area, as torchvision does.
    """
    n, _, h, w = x.shape
    box, fits = _boxes(n, h, w, (least_area, 1.0), math.log(4 / 3), margin=0, generator=generator)
    whole = torch.tensor([0, 0, h, w]).expand(n, 4)
    top, left, height, width = torch.where(fits[:, None], box, whole).to(torch.float32).unbind(1)
    theta = torch.zeros(n, 2, 3)  # maps the output's [-1, 1] onto the box
    theta[:, 0, 0], theta[:, 0, 2] = width / w, (2 * left + width) / w - 1
    theta[:, 1, 1], theta[:, 1, 2] = height / h, (2 * top + height) / h - 1
    grid = F.affine_grid(theta, [n, 3, h, w], align_corners=False).to(x)
    cut = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return cut.clamp(0, 1)  # bicubic overshoots at edges


def pad_crop(
    x: Float[Tensor, "batch 3 h w"], *, share: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Pads each side with `share` of the image's side in zeros, and cuts out the old size.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2: 4 pixels of 32.
    """
    n, _, h, w = x.shape
    margin = round(share * h)
    padded = F.pad(x, (margin, margin, margin, margin))
    top, left = torch.randint(2 * margin + 1, (2, n, 1), generator=generator).to(x.device)
    rows = (top + torch.arange(h, device=x.device)).view(n, 1, h, 1)
    columns = (left + torch.arange(w, device=x.device)).view(n, 1, 1, w)
    image = torch.arange(n, device=x.device).view(n, 1, 1, 1)
    channel = torch.arange(3, device=x.device).view(1, 3, 1, 1)
    return padded[image, channel, rows, columns]


def random_rotation(
    x: Float[Tensor, "batch 3 h w"], *, degrees: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Rotates each square image about its centre by U(-degrees, degrees), as torchvision does.

    Each pixel takes the nearest one's value; the corners become black.
    """
    angle = math.radians(degrees) * (2 * torch.rand(len(x), generator=generator) - 1)
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos(), -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos()
    grid = F.affine_grid(theta, list(x.shape), align_corners=False).to(x)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def random_flip(
    x: Float[Tensor, "batch 3 h w"], *, probability: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Mirrors each image left to right with `probability`."""
    is_flipped = torch.rand(len(x), generator=generator) < probability
    return torch.where(_per_image(is_flipped, x), x.flip(3), x)


def color_jitter(
    x: Float[Tensor, "batch 3 h w"], *, strength: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Scales brightness, contrast and saturation by U(1 - strength, 1 + strength), in any order.

    As torchvision's ColorJitter(strength, strength, strength) on floats: no hue.
    """
    factors = 1 + strength * (2 * torch.rand(3, len(x), generator=generator) - 1)
    order = torch.rand(len(x), 3, generator=generator).argsort(dim=1)
    for turn in range(3):
        brighter = adjust(x, torch.zeros_like(x), factors[0])
        contrasted = adjust(x, grayscale(x).mean(dim=(1, 2, 3), keepdim=True), factors[1])
        saturated = adjust(x, grayscale(x), factors[2])
        is_brightness = _per_image(order[:, turn] == 0, x)
        is_contrast = _per_image(order[:, turn] == 1, x)
        x = torch.where(is_brightness, brighter, torch.where(is_contrast, contrasted, saturated))
    return x


def adjust(
    x: Float[Tensor, "batch 3 h w"], base: Tensor, factor: Float[Tensor, " batch"]
) -> Float[Tensor, "batch 3 h w"]:
    """Moves each image away from `base` (factor > 1) or towards it, and cuts it to [0, 1]."""
    return torch.lerp(base.expand_as(x), x, _per_image(factor, x)).clamp(0, 1)


def grayscale(x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch 1 h w"]:
    """Returns the luma of ITU-R 601-2, as PIL and torchvision do."""
    return (x * torch.tensor(GRAY).to(x).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def randaugment(
    x: Float[Tensor, "batch 3 h w"], *, magnitude: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Applies timm's `rand-mM-mstd0.5-inc1` to each image, through 8-bit PIL images.

    timm reads M as an integer; here a fraction counts. Uncovered corners are timm's mid gray.
    """
    transform = rand_augment_transform("rand-mstd0.5-inc1")
    for op in transform.ops:
        op.magnitude = magnitude
        # At 10, timm posterizes to no bits at all: a black image, and an error since Pillow 13.
        op.magnitude_max = 9.99
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    with _global_streams(generator):
        augmented = [np.asarray(transform(Image.fromarray(image))) for image in pixels]
    return torch.from_numpy(np.stack(augmented)).permute(0, 3, 1, 2).to(x) / 255


def random_erasing(
    x: Float[Tensor, "batch 3 h w"], *, probability: float, generator: torch.Generator
) -> Float[Tensor, "batch 3 h w"]:
    """Fills a box of area U(.02, 1/3) and log-aspect U(ln .3, ln 1/.3) with noise on [0, 1].

    Source: Zhong et al. 2020, arXiv:1708.04896, and timm's `pixel` mode; but N(.5, .25) cut to
    [0, 1] in place of N(0, 1), which would leave the pixel box.
    """
    n, _, h, w = x.shape
    box, fits = _boxes(n, h, w, (0.02, 1 / 3), math.log(1 / 0.3), margin=1, generator=generator)
    top, left, height, width = box.view(n, 4, 1, 1).unbind(1)
    rows, columns = torch.arange(h).view(1, h, 1), torch.arange(w).view(1, 1, w)
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    is_erased = fits & (torch.rand(n, generator=generator) < probability)
    mask = inside & is_erased.view(n, 1, 1)  # (batch, h, w)
    noise = (torch.randn(x.shape, generator=generator) * 0.25 + 0.5).clamp(0, 1)
    return torch.where(mask.unsqueeze(1).to(x.device), noise.to(x), x)


def mix(
    x: Float[Tensor, "batch 3 h w"], *, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[Float[Tensor, "batch 3 h w"], float]:
    """Mixes each image with its partner in the flipped batch by timm's MixUp or CutMix.

    Returns:
        The images, and the share that each keeps of its own target.

    Raises:
        ValueError: If the batch is odd: one image would be its own partner.
    """
    if len(x) % 2:
        raise ValueError(f"MixUp and CutMix need an even batch, got {len(x)} images")
    mixer = Mixup(mixup, cutmix, switch_prob=0.5, label_smoothing=0.0, num_classes=2)
    # timm tells the share only through targets: partners get different classes, 0 and 1.
    own = torch.arange(len(x)) // (len(x) // 2)
    with _global_streams(generator):
        x, targets = mixer(x.clone(), own)
    return x.clamp(0, 1), float(targets[0, 0])


def _boxes(
    n: int,
    h: int,
    w: int,
    areas: tuple[float, float],
    log_aspect: float,
    *,
    margin: int,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "n 4"], Tensor]:
    """Draws a box (top, left, height, width) per image: the first of ten that fits.

    Args:
        areas: Range of the area, as fractions of the image.
        log_aspect: The logarithm of height / width is uniform within plus or minus this.
        margin: A box fits if it leaves at least this many rows and columns.

    Returns:
        The boxes, and whether any candidate did fit.
    """
    draws = torch.rand(4, n, TRIES, generator=generator)
    area = (areas[0] + (areas[1] - areas[0]) * draws[0]) * h * w
    root_aspect = torch.exp((2 * draws[1] - 1) * log_aspect / 2)
    height = (area.sqrt() * root_aspect).round().clamp_min(1)
    width = (area.sqrt() / root_aspect).round().clamp_min(1)
    top = ((h - height + 1) * draws[2]).floor()
    left = ((w - width + 1) * draws[3]).floor()
    fits = (height <= h - margin) & (width <= w - margin)  # (n, tries)
    first = fits.to(torch.int64).argmax(dim=1).view(1, n, 1)
    candidates = torch.stack([top, left, height, width])  # (4, n, tries)
    chosen = candidates.gather(2, first.expand(4, n, 1)).squeeze(2)
    return chosen.T.to(torch.int64), fits.any(dim=1)


@contextmanager
def _global_streams(generator: torch.Generator) -> Generator[None]:
    """Seeds Python's and NumPy's global streams, from which timm draws, and puts them back."""
    seeds = torch.randint(2**32, (2,), generator=generator).tolist()
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seeds[0])
    np.random.seed(seeds[1])
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.device).view(-1, 1, 1, 1)
