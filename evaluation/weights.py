"""The identity of a model: a hash of its weights."""

import hashlib

import torch
from torch import nn


def model_hash(model: nn.Module) -> str:
    """Returns the first 12 hex digits of the SHA-256 of the weights, in order of their names.

    Buffers count too (BatchNorm's statistics decide the output); the device does not.
    """
    digest = hashlib.sha256()
    for name, weights in sorted(model.state_dict().items()):
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        flat = weights.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())  # numpy has no bfloat16
    return digest.hexdigest()[:12]
