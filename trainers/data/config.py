"""Which images a trial sees: the fields of its data, checked at birth. Light: no torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.config import Config, Fraction

PHOTO_CLASSES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
"""Functions of `skimage.data`: each photograph is a class of the embedded task."""


class PhotosConfig(Config):
    """The embedded task: random crops of the photographs in scikit-image's wheel."""

    source: Literal["photos"]
    resolution: int = Field(ge=16, multiple_of=4)
    """Side of the square images, in pixels."""
    train_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the train split; a smaller one is the beginning of a larger one."""
    select_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the split that ranks trials."""
    test_images: int = Field(gt=0, multiple_of=len(PHOTO_CLASSES))
    """Size of the split that only finished, promoted models see."""
    seed: int = Field(ge=0)
    """Seed of every random choice of the data set."""

    @property
    def extra_share(self) -> float:
        """Nothing is mixed in."""
        return 0.0

    @property
    def num_classes(self) -> int:
        return len(PHOTO_CLASSES)

    @property
    def class_names(self) -> tuple[str, ...]:
        return PHOTO_CLASSES


class ExtraConfig(Config):
    """A second source of images to train on, such as synthetic ones, mixed into each batch.

    Of a batch, round(share * batch_size) images are extra. An epoch is one pass over the train
    images, so it has train images // (batch_size - round(share * batch_size)) steps. Wang et al.'s
    code takes train images / batch_size steps, whatever the share.
    """

    source: Literal["none", "folder", "packed", "parquet"]
    """As in `StoredConfig`. Of its images, those whose class has the name of one that is kept."""
    path: str
    """Empty for `none`; on a cluster, on storage that every node sees."""
    share: float = Field(ge=0, lt=1)
    """Of each batch: 1 minus the original-to-generated ratio of Gowal et al. 2021
    (arXiv:2110.09468) and Rebuffi et al. 2021 (arXiv:2103.01946); 0.7 in Wang et al. 2023
    (arXiv:2302.04638) with a million images. 0 leaves them out."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "ExtraConfig":
        if self.source == "none" and (self.path or self.share):
            raise ValueError(
                f"source=none needs path='' and share=0, got path={self.path!r} and "
                f"share={self.share:g}; name the source of the extra images"
            )
        if self.source != "none" and not self.path:
            raise ValueError(
                f"source={self.source} needs the extra images in path, got ''; without any, "
                "source is none"
            )
        return self


class StoredConfig(Config):
    """Image files on disk, such as ImageNet's: train images and the official validation images."""

    source: Literal[
        "folder", "packed", "parquet", "cifar10", "cifar100", "flowers102", "caltech101"
    ]
    """`folder`: CLASS/IMAGE, as torchvision reads it. `packed`: what `rampart data pack` wrote.
    `parquet`: Hugging Face's shards. The others are torchvision's, fetched where the network is."""
    path: str = Field(min_length=1)
    """Train images; of torchvision's sets, the folder that they are fetched to. On a cluster, on
    storage that every node sees."""
    test_path: str
    """Official validation images, in the form of `source`; empty for torchvision's sets, which
    bring them."""
    classes: Literal["all", "drawn", "imagenet100"]
    """`drawn`: `num_classes` of them, by `seed`. `imagenet100`: those of Debenedetti et al. 2023
    (arXiv:2209.07399), as their code draws them."""
    num_classes: int = Field(ge=2)
    resolution: int = Field(ge=16, multiple_of=4)
    """Side of the square images, in pixels."""
    crop_share: float = Field(gt=0, le=1)
    """Side of the centre crop over the shorter side of the whole image where nothing is random;
    0.875 for ConvNeXt and ViT, 1 for XCiT, 0.95 for ResNet-50 (Debenedetti et al.)."""
    train_images: Annotated[int, Field(gt=0)] | Literal["all"]
    """The same number of each class; a smaller number is part of a larger one. `all`: whatever
    `select_images` leaves."""
    select_images: int = Field(gt=0)
    """Held out of the train images, in proportion to their classes: they rank trials."""
    test_images: int = Field(gt=0)
    """Of the validation images, RobustBench's list where it is installed, else 5 of each class;
    only finished, promoted models see them."""
    extra: ExtraConfig
    max_bad: Fraction
    """Share of unreadable images, extra ones included, each replaced by another of its class,
    beyond which training ends; each worker counts those that it met since it started."""
    seed: int = Field(ge=0)
    """Seed of every draw; a trial and its promotion share it."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Numbers: the names are in the source."""
        return tuple(map(str, range(self.num_classes)))

    @property
    def extra_share(self) -> float:
        """Share of each batch that is not from the train split."""
        return self.extra.share

    @model_validator(mode="after")
    def _fields_agree(self) -> "StoredConfig":
        if self.train_images != "all" and self.train_images % self.num_classes:
            raise ValueError(
                f"train_images ({self.train_images}) must be a multiple of num_classes "
                f"({self.num_classes}), or 'all'"
            )
        if self.classes == "imagenet100" and self.num_classes != 100:
            raise ValueError(f"classes=imagenet100 needs num_classes=100, got {self.num_classes}")
        is_fetched = self.source not in ("folder", "packed", "parquet")
        if is_fetched == bool(self.test_path):
            raise ValueError(
                f"source={self.source} brings its test images, so test_path must be empty"
                if is_fetched
                else f"source={self.source} needs the official validation images in test_path"
            )
        return self

    @model_validator(mode="after")
    def _held_out_images_are_not_extra(self) -> "StoredConfig":
        for name, path in (("path", self.path), ("test_path", self.test_path)):
            if self.extra.path and path and Path(self.extra.path) == Path(path):
                raise ValueError(
                    f"extra.path must be another place than {name}, got {path} for both: images "
                    "that are held out of training are there"
                )
        return self


DataSource = Literal[
    "photos", "folder", "packed", "parquet", "cifar10", "cifar100", "flowers102", "caltech101"
]
DataConfig = Annotated[PhotosConfig | StoredConfig, Field(discriminator="source")]
