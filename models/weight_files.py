"""Files that hold weights, as they are: what is in them, before any name is understood.

Only tensors and plain values are ever read: a file that would run code is refused.
"""

import argparse
import io
import json
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch

AVERAGED = ("state_dict_ema", "model_ema", "ema")
RAW = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "base_model.", "model.", "network.", "averaged.")
"""Of DistributedDataParallel; the attack of Singh et al.; normalisation; ours; our average."""

_DAMAGED = (
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
"""What torch raises for files that are cut or scrambled."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file that was read to the CPU."""

    content: Mapping[str, Any]
    metadata: Mapping[str, str]
    """Of safetensors; else empty."""

    def entry(self, weights: Literal["scored", "raw"]) -> Mapping[str, Any]:
        """Returns what lies under the first key that is known, or the whole content."""
        keys = (*AVERAGED, *RAW) if weights == "scored" else RAW
        found = (self.content[k] for k in keys if isinstance(self.content.get(k), Mapping))
        return next(found, self.content)


def read_file(path: Path) -> WeightFile:
    """Reads a safetensors file or what `torch.save` wrote, whatever its suffix.

    Raises:
        ValueError: If there is no file, if it is damaged, or if reading it could run code.
    """
    if not path.is_file():
        raise ValueError(f"weights must be a file, found none at {path}; check the path")
    # Through memory, so that an OSError means the storage and never a short file.
    data = path.read_bytes()
    try:
        content, metadata = _decode(data)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} must hold tensors only, but is damaged or would run code when read "
            f"({reason}); where you trust it, save its state_dict as safetensors"
        ) from error
    except (safetensors.SafetensorError, *_DAMAGED) as error:
        raise ValueError(
            f"{path} must be a safetensors file or a checkpoint of torch, but is damaged or "
            f"neither ({error}); copy it again"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} must hold weights by name, got a {type(content).__name__}; save a state_dict"
        )
    return WeightFile(content=content, metadata=metadata)


def uncompiled(name: str) -> str:
    """Returns a name without what torch.compile puts in front of what it compiled."""
    return name.replace("_orig_mod.", "")


def _decode(data: bytes) -> tuple[Any, Mapping[str, str]]:
    if not data:
        raise EOFError("the file is empty")
    # The header of safetensors is JSON after a length of eight bytes.
    if data[8:9] == b"{" and not data.startswith(b"PK"):
        content = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return content, header.get("__metadata__", {})
    # timm keeps its arguments in its checkpoints; a Namespace runs nothing.
    with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected pickle protocol")  # it is read or not
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), {}
