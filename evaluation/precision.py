"""Full float32 on the device: an attack and its verification must see the same model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Switches TF32 off inside the block, then restores what was set.

    CUDA convolutions use TF32 by default. It keeps 10 bits of the mantissa and depends on the
    algorithm chosen for a batch size, so an image near the boundary would flip when it is verified.
    """
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, conv.fp32_precision
    matmul.fp32_precision = conv.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision, conv.fp32_precision = before
