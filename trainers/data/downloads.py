"""CIFAR-10 and -100, Caltech-101 and Flowers-102 as torchvision fetches them."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, Caltech101, Flowers102

from trainers.data.folder import Files
from trainers.data.source import DownloadKind, Labels, Source, pack_ids
from trainers.data.subsets import rank

CALTECH_TRAIN = 30
"""Training images of each class of Caltech-101, which has no official split; the number is that of
Fei-Fei et al. 2004, which images is ours. The others are the test images."""


class Arrays(Source):
    """Images in memory, handed out as PNG files."""

    def __init__(
        self,
        *,
        name: str,
        split: str,
        classes: tuple[str, ...],
        labels: Labels,
        images: npt.NDArray[np.uint8],
    ) -> None:
        """`images` are (n, height, width, 3)."""
        self.name = name
        self.classes = classes
        self.labels = labels
        self.ids = pack_ids(f"{split}/{i:05d}" for i in range(len(labels)))
        self.images = images

    def read(self, index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.images[index]).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def checksum(self, index: int) -> int | None:
        return None


def open_download(kind: DownloadKind, path: Path) -> Source:
    """Opens a set below `path`, after fetching it if it is not there.

    Several processes must not fetch at once: open it in one of them first.

    Raises:
        ValueError: If it is not there and cannot be fetched.
    """
    name, split = kind.split("-")
    try:
        if name == "cifar10":
            return serve_cifar(CIFAR10(path, train=split == "train", download=True), kind)
        if name == "cifar100":
            return serve_cifar(CIFAR100(path, train=split == "train", download=True), kind)
        if name == "caltech101":
            return serve_caltech(Caltech101(path, download=True), kind)
        flowers = Flowers102(path, split=split, download=True, loader=Path)
        return serve_flowers(flowers, kind)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{kind} must lie in {path} as torchvision stores it, or be fetched, and neither "
            f"worked ({error}); copy it there from a machine with a network"
        ) from error


def serve_cifar(dataset: CIFAR10, kind: DownloadKind) -> Arrays:
    """Serves CIFAR-10, or CIFAR-100, which torchvision derives from it."""
    return Arrays(
        name=f"{kind} {dataset.root}",
        split=kind.split("-")[1],
        classes=tuple(dataset.classes),
        labels=np.array(dataset.targets, np.int64),
        images=np.asarray(dataset.data),
    )


def serve_caltech(dataset: Caltech101, kind: DownloadKind) -> Files:
    """Serves the train or test images of our split."""
    ids = [
        f"{dataset.categories[label]}/image_{number:04d}.jpg"
        for label, number in zip(dataset.y, dataset.index, strict=True)
    ]
    labels = np.array(dataset.y, np.int64)
    ranks = rank(ids, seed=0, purpose="caltech101")
    train = np.zeros(len(ids), np.bool_)
    for label in range(len(dataset.categories)):
        members = np.flatnonzero(labels == label)
        train[members[np.argsort(ranks[members])][:CALTECH_TRAIN]] = True
    chosen = np.flatnonzero(train if kind == "caltech101-train" else ~train)
    return Files(
        name=f"{kind} {dataset.root}",
        root=Path(dataset.root) / "101_ObjectCategories",
        classes=tuple(dataset.categories),
        labels=labels[chosen],
        ids=(ids[i] for i in chosen.tolist()),
    )


def serve_flowers(dataset: Flowers102, kind: DownloadKind) -> Files:
    """Serves a split of Flowers-102 that was opened with `loader=Path`, so that it gives paths."""
    items: list[tuple[Path, int]] = [dataset[i] for i in range(len(dataset))]
    root = items[0][0].parent
    return Files(
        name=f"{kind} {dataset.root}",
        root=root,
        classes=tuple(dataset.classes),
        labels=np.array([label for _, label in items], np.int64),
        ids=(path.name for path, _ in items),
    )
