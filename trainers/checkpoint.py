"""What a trial needs to go on, and where it lies: one file in a folder, replaced atomically."""

import io
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from models.ema import Ema
from models.registry import build_model
from trainers.atomic import replacing
from trainers.config import TrialConfig
from trainers.metrics import Progress

FILE = "checkpoint.pt"


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """A trial between two epochs. The tensors may be the live ones: save before it goes on."""

    config: TrialConfig
    epoch: int
    """Epochs finished."""
    progress: Progress
    model: Mapping[str, Tensor]
    ema: Mapping[str, Any] | None
    """State of `models.ema.Ema`; None where the EMA is off."""
    optimizer: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CleanStart:
    """What a clean training (`trainers/clean_start.py`) brings to a trial."""

    model: Mapping[str, Tensor]
    seconds: float
    """That this trial spent on it; 0 if another one had."""


def has_checkpoint(folder: Path) -> bool:
    """Tells whether a checkpoint was saved in `folder`."""
    return (folder / FILE).is_file()


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Writes `folder/checkpoint.pt`; a reader sees the old file or the new one, never a part."""
    content = {
        "config": state.config.model_dump_json(),
        "epoch": state.epoch,
        "progress": state.progress.model_dump_json(),
        "model": dict(state.model),
        "ema": None if state.ema is None else dict(state.ema),
        "optimizer": dict(state.optimizer),
    }
    with replacing(folder / FILE) as file:
        torch.save(content, file)


def load_checkpoint(folder: Path, config: TrialConfig) -> TrainState:
    """Reads the state of the trial `config` to the CPU.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is damaged, or belongs to another config.
    """
    state = _read(folder)
    if differing := differing_paths(state.config, config):
        raise ValueError(f"{folder / FILE} belongs to another config: {'; '.join(differing)}")
    return state


def load_model(folder: Path) -> tuple[TrialConfig, nn.Module]:
    """Builds the scored model, on the CPU in eval mode: the averaged weights where the EMA is on.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If the file is damaged.
    """
    state = _read(folder)
    data = state.config.data
    model = build_model(
        state.config.model, num_classes=data.num_classes, resolution=data.resolution
    )
    if state.ema is None:
        model.load_state_dict(state.model)
        return state.config, model.eval()
    ema = Ema(model, decay=0.0)  # only read, never updated
    ema.load_state_dict(state.ema)
    return state.config, ema.averaged.eval()


def differing_paths(saved: TrialConfig, asked: TrialConfig) -> list[str]:
    """Spells out each dotted path at which two configs differ, with both values."""
    left = dict(_leaves(saved.model_dump(mode="json")))
    right = dict(_leaves(asked.model_dump(mode="json")))
    return [
        f"{path} is {left.get(path, 'absent')!r} there, {right.get(path, 'absent')!r} here"
        for path in sorted({*left, *right})
        if left.get(path, "absent") != right.get(path, "absent")
    ]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read(folder: Path) -> TrainState:
    path = folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    # Through memory, so that an OSError means the storage and never a short file.
    data = io.BytesIO(path.read_bytes())
    try:
        content = torch.load(data, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint: {error}") from error
    try:
        return TrainState(
            config=TrialConfig.model_validate_json(content["config"]),
            epoch=content["epoch"],
            progress=Progress.model_validate_json(content["progress"]),
            model=content["model"],
            ema=content["ema"],
            optimizer=content["optimizer"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of a trial: it lacks {error}") from error
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors()[:5])
        raise ValueError(
            f"{path} was written by a version whose configs differ in {fields}; evaluate it with "
            "that version"
        ) from error
