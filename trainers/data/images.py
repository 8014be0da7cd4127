"""A split in memory."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one rank asks for: which images, and how large they will be."""

    index: Int64[Tensor, " batch"]
    """Places in the train split; the extra images come after its last one."""
    side: int


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images as uint8 on [0, 255] and their labels; the order never changes."""

    crops_itself: ClassVar[bool] = False
    """Augmentation makes the random crops."""
    extra: ClassVar[int] = 0
    """Images beyond the split that training may ask for."""
    images: UInt8[Tensor, "n 3 h w"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, n: int) -> "ImageSet":
        """Returns the first `n` images.

        Raises:
            ValueError: If there are fewer than `n`.
        """
        if n > len(self):
            raise ValueError(f"asked for {n} images of a split that has {len(self)}")
        return ImageSet(images=self.images[:n], labels=self.labels[:n])

    def stream(
        self, batches: Iterable[Batch], *, epoch: int
    ) -> Iterator[tuple[UInt8[Tensor, "batch 3 h w"], Int64[Tensor, " batch"]]]:
        """Yields the pixels and the labels of each batch, at the size at which they are kept."""
        del epoch  # nothing is drawn here
        for batch in batches:
            yield self.images[batch.index], self.labels[batch.index]

    def floats(self, index: Int64[Tensor, " batch"]) -> Float[Tensor, "batch 3 h w"]:
        """Returns the images at `index` on [0, 1]."""
        return self.images[index].to(torch.float32) / 255

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of images and labels."""
        digest = hashlib.sha256(self.images.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]
