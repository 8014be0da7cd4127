"""The embedded task as files on disk, and trials on them."""

from pathlib import Path
from typing import Any

import torch
from base_trial import base_trial
from PIL import Image

from trainers.config import TrialConfig
from trainers.data.config import PHOTO_CLASSES, PhotosConfig
from trainers.data.images import Batch, ImageSet
from trainers.data.load import Images
from trainers.data.photos import load_split

CLASSES = len(PHOTO_CLASSES)
SIDE = 16


def photos(per_class: int) -> ImageSet:
    """Returns crops of the photographs, in the order of their classes."""
    config = TrialConfig.model_validate(base_trial(data={"train_images": CLASSES * per_class}))
    assert isinstance(config.data, PhotosConfig)
    return load_split(config.data, "train")


def write_folder(path: Path, per_class: int, *, suffix: str = "png", side: int = SIDE) -> Path:
    """Writes CLASS/NUMBER.suffix; PNG keeps every pixel. Larger images are enlarged ones."""
    images = photos(per_class)
    for i, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
        file = path / PHOTO_CLASSES[int(label)] / f"{i // CLASSES:04d}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        image.resize((side, side * 3 // 4) if side > SIDE else (side, side)).save(file)
    return path


def stored_trial(path: Path, **changes: Any) -> TrialConfig:
    """Returns the base trial on the folder at `path`; `data_` fields change its data."""
    data = {
        "source": "folder",
        "path": str(path),
        "test_path": "/nowhere",
        "classes": "all",
        "num_classes": CLASSES,
        "resolution": SIDE,
        "crop_share": 1.0,
        "train_images": "all",
        "select_images": CLASSES,
        "test_images": CLASSES,
        "extra": {"source": "none", "path": "", "share": 0.0},
        "max_bad": 0.0,
        "seed": 0,
        **changes.pop("data", {}),
    }
    return TrialConfig.model_validate({**base_trial(**changes), "data": data})


def tensors(images: Images, *, epoch: int = 0, side: int = SIDE) -> torch.Tensor:
    """Returns the pixels of a whole train split in its order."""
    index = torch.arange(len(images))
    ((pixels, _),) = images.stream([Batch(index=index, side=side)], epoch=epoch)
    return pixels
