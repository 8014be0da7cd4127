"""Full float32 on the device: an attack and its verification must see the same model."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Generator[None, None, None]:
    """Switches TF32 off inside the block, then restores what was set.

    CUDA convolutions use TF32 by default. It keeps 10 bits of the mantissa and depends on the
    algorithm chosen for a batch size, so an image near the boundary would flip when it is verified.
    """
    # The older switches: torch refuses to read them once the newer `fp32_precision` disagrees.
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
