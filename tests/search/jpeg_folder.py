"""Folders of small JPEG files, for the commands that read images."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folder(root: Path, *, per_class: int) -> None:
    """Writes `per_class` JPEG files of noise, 12 pixels high, in each of two classes."""
    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:04d}.jpg")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-80])
