"""From image files to pixels at any side, as each family was published; models at another side.

timm's words: a crop resizes, then cuts out the centre, and `squash` resizes both sides alike.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import timm
import torch
from jaxtyping import UInt8
from PIL import Image
from timm.models import PretrainedCfg
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, functional

import models.registered  # noqa: F401  # pyright: ignore[reportUnusedImport]
from models.config import AnyModelConfig, ResNetConfig, TimmConfig, XCiTConfig
from models.cost import forward_cost
from models.registry import build_model
from models.weights import load_weights
from trainers.data.decode import UnreadableImageError, read_whole
from trainers.data.images import ImageSet
from trainers.data.source import Indices, Labels, Source

WARPED_FROM = 384
"""Side from which ConvNeXts and ViTs see the whole image, its sides warped to a square."""
SHARE = 0.875
XCIT_SHARE = 1.0
RESNET_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class Crop:
    """How a file becomes `side` x `side` pixels."""

    resize: int
    """Shorter side before the cut, in pixels; with `squash`, both sides."""
    side: int
    mode: Literal["center", "squash"]
    interpolation: Literal["bicubic", "bilinear"]


def published_crop(config: AnyModelConfig, *, side: int) -> Crop:
    """Returns the crop with which models of this kind are evaluated on ImageNet at `side` pixels.

    A checkpoint of ours at its own side has a share of its own: `centre_crop`, `data.crop_share`.

    Source: ConvNeXt and ViT: Singh et al. 2023, arXiv:2303.01870: share 0.875, from 384 pixels on
        the whole image (their code; the published numbers are at 224, 256 and 320). XCiT: 1,
        ResNet: 0.95, Debenedetti et al. 2023, arXiv:2209.07399. Any other: what timm's
        `pretrained_cfg` says, also of its test size.

    Raises:
        ValueError: If timm evaluates the model with borders around the image.
    """
    if isinstance(config, TimmConfig):
        return _timm_crop(config.name, side)
    if isinstance(config, XCiTConfig):
        return centre_crop(side=side, share=XCIT_SHARE)
    if isinstance(config, ResNetConfig):
        return centre_crop(side=side, share=RESNET_SHARE)
    if side >= WARPED_FROM:
        return Crop(resize=side, side=side, mode="squash", interpolation="bicubic")
    return centre_crop(side=side, share=SHARE)


def centre_crop(*, side: int, share: float) -> Crop:
    """Returns the crop with which a trial is ranked; `share` is its `data.crop_share`."""
    resize = math.floor(side / share)
    return Crop(resize=resize, side=side, mode="center", interpolation="bicubic")


def cut(image: Image.Image, crop: Crop) -> UInt8[Tensor, "3 side side"]:
    """Resizes and cuts as torchvision does."""
    size = [crop.resize] if crop.mode == "center" else [crop.resize, crop.resize]
    resized = functional.resize(
        image,  # pyright: ignore[reportArgumentType]
        size,
        interpolation=InterpolationMode(crop.interpolation),
    )
    return functional.pil_to_tensor(functional.center_crop(resized, [crop.side, crop.side]))


def read_images(
    source: Source, index: Indices, crop: Crop, *, labels: Labels, threads: int
) -> ImageSet:
    """Reads the images at `index` into memory, in its order, each once.

    Args:
        labels: Of each of them, among the classes of the model.

    Raises:
        ValueError: If an image is unreadable: none may be missing where models are compared.
    """
    pixels = torch.empty(len(index), 3, crop.side, crop.side, dtype=torch.uint8)

    def read(row: int) -> None:
        pixels[row] = _read(source, int(index[row]), crop)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(read, range(len(index))):
            pass  # raises what a thread raised
    return ImageSet(images=pixels, labels=torch.from_numpy(labels))


def at_side(model: nn.Module, config: AnyModelConfig, *, num_classes: int, side: int) -> nn.Module:
    """Returns a copy of a model of `build_model` for images of another side.

    Position embeddings are interpolated; nothing else may depend on the side. It is on the CPU, in
    eval mode.

    Raises:
        ValueError: If the architecture cannot take such images, or has other weights that belong to
            one side: biases of BEiT's or MaxViT's attention, an MLP-Mixer's tokens.
    """
    forward_cost(config, num_classes=num_classes, resolution=side)
    with torch.random.fork_rng(devices=[]):
        resized = build_model(config, num_classes=num_classes, resolution=side)
    try:
        load_weights(resized, model.state_dict(), allow={"position"})
    except ValueError as error:
        name = config.name if isinstance(config, TimmConfig) else config.family
        raise ValueError(
            f"{name} cannot be evaluated at {side} pixels: at another side than it was trained at "
            f"only position embeddings may differ ({error}); evaluate it at its own side"
        ) from error
    return resized.eval()


def _timm_crop(name: str, side: int) -> Crop:
    known = timm.get_pretrained_cfg(name) or PretrainedCfg()
    if known.crop_mode not in ("center", "squash"):
        raise ValueError(
            f"a crop must be timm's center or squash, and {name} has {known.crop_mode}; take "
            "another model"
        )
    is_test_size = known.test_input_size is not None and known.test_input_size[-1] == side
    share = known.test_crop_pct if is_test_size and known.test_crop_pct else known.crop_pct
    is_bilinear = known.interpolation == "bilinear"
    return Crop(
        resize=math.floor(side / share),
        side=side,
        mode="squash" if known.crop_mode == "squash" else "center",
        interpolation="bilinear" if is_bilinear else "bicubic",
    )


def _read(source: Source, place: int, crop: Crop) -> Tensor:
    try:
        _, image = read_whole(source, place)
    except UnreadableImageError as error:
        raise ValueError(
            f"every image of an evaluation must be readable, and {source.ids[place]} of "
            f"{source.name} is not: {error}; repair it"
        ) from error
    return cut(image, crop)
