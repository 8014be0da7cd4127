"""A split of stored images: read, decoded and cropped when a batch wants them, ahead of training.

A random crop depends on (seed, epoch, image) alone: not on the rank, the batch or the number of
processes that read. An unreadable image is replaced by another one of its class, always the same.
"""

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset, Sampler

from trainers.data.decode import UnreadableImageError, read_whole, replacement
from trainers.data.images import Batch, ImageSet
from trainers.data.manifest import Manifest, make_manifest
from trainers.data.source import Indices, Source

ASPECT = (3 / 4, 4 / 3)
"""Least and greatest width over height of a random crop."""
TRIES = 10
"""Boxes drawn before the largest central one is taken, as in torchvision."""
AHEAD = 4
"""Batches that each process reads ahead."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Key:
    """What one image of a batch asks for; all that its pixels depend on."""

    position: int
    """In the split, or after its end: an extra image."""
    side: int
    seed: tuple[int, int]
    """Of training, and the epoch."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Which images of a source make up a split."""

    source: Source
    index: Indices
    """Places in `source`, in the order of the split."""
    classes: tuple[int, ...]
    """Of `source`; label k of the split is the k-th."""

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def labels(self) -> Int64[Tensor, " n"]:
        relabel = np.full(len(self.source.classes), -1)
        relabel[list(self.classes)] = np.arange(len(self.classes))
        return torch.from_numpy(relabel[self.source.labels[self.index]])

    @cached_property
    def hash(self) -> str:
        """Of the manifest: ids, labels and classes in their order."""
        return self.manifest().hash

    def manifest(self) -> Manifest:
        """Names the images; made anew each time, for it is large."""
        return make_manifest(self.source, self.index, classes=self.classes)


class StoredImages(Dataset[tuple[Tensor, int]]):
    """A train split, and extra images after its end; `stream` gives the batches of an epoch."""

    crops_itself = True
    """Crops come out of the reading processes, so augmentation has none to make."""

    def __init__(
        self,
        stored: Stored,
        *,
        extra: Stored | None,
        crop_scale: float,
        crop_share: float,
        seed: int,
        max_bad: float,
        loaders: int,
    ) -> None:
        """`extra` has the labels of `stored`; the others are as the configs define them."""
        self._stored = stored
        self._extra = extra
        self._crop_scale = crop_scale
        self._crop_share = crop_share
        self._seed = seed
        self._max_bad = max_bad
        self._plan = _Plan()
        self._loaders = loaders
        self._bad = set[int]()

    def __len__(self) -> int:
        """Without the extra images."""
        return len(self._stored)

    @property
    def extra(self) -> int:
        """Extra images: their places begin at len(self)."""
        return 0 if self._extra is None else len(self._extra)

    @property
    def hash(self) -> str:
        """Of the manifest, or of both where there are extra images."""
        if self._extra is None:
            return self._stored.hash
        both = f"{self._stored.hash} {self._extra.hash}"
        return hashlib.sha256(both.encode()).hexdigest()[:12]

    def stream(
        self, batches: Iterable[Batch], *, epoch: int
    ) -> Iterator[tuple[UInt8[Tensor, "batch 3 side side"], Int64[Tensor, " batch"]]]:
        """Yields the pixels on [0, 255] and the labels of each batch.

        Raises:
            ValueError: If more than `max_bad` of the images are unreadable.
        """
        seed, parts = (self._seed, epoch), (self._stored, self._extra)
        labels = torch.cat([part.labels for part in parts if part is not None])
        self._plan.batches = [
            [Key(position=place, side=batch.side, seed=seed) for place in batch.index.tolist()]
            for batch in batches
        ]
        for keys, (pixels, used) in zip(self._plan.batches, self._loader, strict=True):
            self._note_replaced([key.position for key in keys], used)
            yield pixels, labels[used]

    def __getitem__(self, key: Key) -> tuple[UInt8[Tensor, "3 side side"], int]:
        """Returns the pixels of one image, and the position of the image that they are from."""
        stored, wanted = self._find(key.position)
        labels = stored.labels.numpy()
        for attempt in range(len(stored)):
            place = replacement(labels, wanted, attempt=attempt) if attempt else wanted
            try:
                _, image = read_whole(stored.source, int(stored.index[place]))
            except UnreadableImageError:
                continue
            position = key.position - wanted + place
            if self._crop_scale == 1:
                return centre_crop(image, side=key.side, share=self._crop_share), position
            rng = np.random.default_rng([*key.seed, position])
            return random_crop(image, side=key.side, scale=self._crop_scale, rng=rng), position
        raise ValueError(f"no image of {stored.source.name} can be read")

    def __getstate__(self) -> dict[str, object]:
        """What a reading process needs."""
        kept = {name: value for name, value in vars(self).items() if name != "_loader"}
        return {**kept, "_plan": _Plan()}

    @cached_property
    def _loader(self) -> "DataLoader[tuple[Tensor, int]]":
        # Not forked: the training process has threads, and a fork may copy a lock that one holds.
        context = "forkserver" if self._loaders else None
        return DataLoader(
            self,
            batch_sampler=self._plan,
            num_workers=self._loaders,
            persistent_workers=self._loaders > 0,
            prefetch_factor=AHEAD if self._loaders else None,
            multiprocessing_context=context,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # the global one belongs to training
        )

    def _find(self, position: int) -> tuple[Stored, int]:
        """Returns what the image at `position` is part of, and its place there."""
        if position < len(self):
            return self._stored, position
        assert self._extra is not None
        return self._extra, position - len(self)

    def _note_replaced(self, wanted: Sequence[int], used: Int64[Tensor, " batch"]) -> None:
        for position, instead in zip(wanted, used.tolist(), strict=True):
            if position == instead or position in self._bad:
                continue
            self._bad.add(position)
            (stored, place), (_, other) = self._find(position), self._find(instead)
            bad, good = stored.source.ids_at(stored.index[[place, other]])
            log.warning("unreadable image=%s replaced by=%s", bad, good)
        images = len(self) + self.extra
        if len(self._bad) > self._max_bad * images:
            kind = "train and extra images" if self.extra else "train images"
            raise ValueError(
                f"{len(self._bad)} of {images} {kind} are unreadable, more than "
                f"data.max_bad ({self._max_bad:g}) allows; see `rampart data check`"
            )


class _Plan(Sampler[list[Key]]):
    """The batches of the epoch that is about to run; the loader asks for them anew each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def decode_all(stored: Stored, *, side: int, share: float, threads: int) -> ImageSet:
    """Reads a whole split into memory, each image once, cropped at its centre.

    Raises:
        ValueError: If an image is unreadable: none may be missing where models are compared.
    """
    read = partial(_centre_of, stored, side=side, share=share)
    with ThreadPoolExecutor(threads) as pool:
        images = list(pool.map(read, range(len(stored))))
    return ImageSet(images=torch.stack(images), labels=stored.labels)


def centre_crop(image: Image.Image, *, side: int, share: float) -> UInt8[Tensor, "3 side side"]:
    """Resizes the shorter side to side / share, rounded down (bicubic), and cuts out the centre.

    As torchvision's Resize and CenterCrop do.
    """
    short = math.floor(side / share)
    scale = short / min(image.size)
    width, height = (
        short if length == min(image.size) else int(length * scale) for length in image.size
    )
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return _pixels(resized.crop((left, top, left + side, top + side)))


def random_crop(
    image: Image.Image, *, side: int, scale: float, rng: np.random.Generator
) -> UInt8[Tensor, "3 side side"]:
    """Cuts out a box of random area and aspect, and resizes it (bicubic): RandomResizedCrop.

    Args:
        scale: Least area as a share of the image's; the greatest is 1.
    """
    left, top, width, height = _draw_box(image.size, scale=scale, rng=rng)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    cut = pixels[:, top : top + height, left : left + width]
    # torch's kernel for 8 bits is faster than Pillow's, and differs by a grey level here and there.
    resized = F.interpolate(cut[None], size=(side, side), mode="bicubic", antialias=True)
    return resized[0].contiguous()


def _draw_box(
    size: tuple[int, int], *, scale: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    whole_width, whole_height = size
    for _ in range(TRIES):
        area = whole_width * whole_height * rng.uniform(scale, 1)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= whole_width and 0 < height <= whole_height:
            left = int(rng.integers(whole_width - width, endpoint=True))
            top = int(rng.integers(whole_height - height, endpoint=True))
            return left, top, width, height
    aspect = min(max(whole_width / whole_height, ASPECT[0]), ASPECT[1])
    width = min(whole_width, round(whole_height * aspect))
    height = min(whole_height, round(whole_width / aspect))
    return (whole_width - width) // 2, (whole_height - height) // 2, width, height


def _centre_of(stored: Stored, position: int, *, side: int, share: float) -> Tensor:
    try:
        _, image = read_whole(stored.source, int(stored.index[position]))
    except UnreadableImageError as error:
        (name,) = stored.source.ids_at(stored.index[[position]])
        raise ValueError(
            f"image {name} of {stored.source.name} is unreadable: {error}; repair it, for every "
            "image of the select and test splits counts"
        ) from error
    return centre_crop(image, side=side, share=share)


def _pixels(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
