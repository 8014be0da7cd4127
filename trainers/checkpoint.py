"""What a trial needs to go on, and where it lies: files in a folder, each whole or absent.

`e00003-s000120.pt` was written 120 steps after the end of epoch 3; `best.pt` is one of the ends of
epochs. A file ends with the SHA-256 of what comes before, which torch.load does not mind.
"""

import hashlib
import io
import logging
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from models.ema import Ema
from models.registry import build_model
from trainers.atomic import write_atomically
from trainers.config import TrialConfig
from trainers.differences import differing_paths
from trainers.metrics import Progress

BEST = "best.pt"
TAIL = 4
"""Parts of a path that name a checkpoint within its search: KEY/RUNG/checkpoint/FILE."""
_NAME = re.compile(r"e\d{5}-s\d{6}\.pt")
_DIGEST = 32
"""Bytes of a SHA-256."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """A trial between two steps. The tensors may be the live ones: save before it goes on.

    Random streams have no state: each step begins them anew.
    """

    config: TrialConfig
    epoch: int
    """Epochs finished."""
    losses: Float[Tensor, " steps"]
    """Of each step of the epoch that runs; their number is the place in it."""
    hits: Float[Tensor, " steps"]
    """Images of those steps that the model got right."""
    seconds: float
    """That those steps took."""
    lr_factor: float
    """On the learning rate, after a roll-back."""
    workers: int
    """That trained last."""
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


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints in `folder`, the latest last, without the best one's second name."""
    return sorted(path for path in folder.glob("e*.pt") if _NAME.fullmatch(path.name))


def ends_of_epochs(folder: Path) -> list[Path]:
    """Returns those of `checkpoints` that were written between two epochs."""
    return [path for path in checkpoints(folder) if path.name.endswith("-s000000.pt")]


def path_of(folder: Path, state: TrainState) -> Path:
    """Returns where a state is saved."""
    return folder / f"e{state.epoch:05d}-s{len(state.losses):06d}.pt"


def save_checkpoint(folder: Path, state: TrainState) -> Path:
    """Writes one file of `folder`, whole or not at all, and returns it."""
    content = io.BytesIO()
    torch.save(
        {
            **vars(state),
            "config": state.config.model_dump_json(),
            "progress": state.progress.model_dump_json(),
            "model": dict(state.model),
            "ema": None if state.ema is None else dict(state.ema),
            "optimizer": dict(state.optimizer),
        },
        content,
    )
    path = path_of(folder, state)
    data = content.getvalue()
    write_atomically(path, data + hashlib.sha256(data).digest())
    return path


def _moved(config: TrialConfig, saved: TrialConfig) -> TrialConfig:
    """Returns `config`, with the path of `saved` for its first weights where only a folder above
    them has another place: a search and all its rungs may be moved."""
    now, then = config.weights.init, saved.weights.init
    if now == then or not now or Path(now).parts[-TAIL:] != Path(then).parts[-TAIL:]:
        return config
    weights = config.weights.model_copy(update={"init": then})
    return config.model_copy(update={"weights": weights})


def load_checkpoint(folder: Path, config: TrialConfig) -> TrainState | None:
    """Reads the latest whole checkpoint of the trial `config` to the CPU; None if there is none.

    A damaged one is passed over and renamed to `*.damaged`; the log and the `events` of the state's
    progress say so.

    Raises:
        ValueError: If all are damaged, or the latest belongs to another config.
    """
    damaged: list[Path] = []
    for path in reversed(checkpoints(folder)):
        try:
            state = read_checkpoint(path)
        except DamagedError:
            log.warning("damaged checkpoint=%s", path)
            damaged.append(path)
            continue
        except FileNotFoundError:  # another trial that shares the folder has a later one
            return load_checkpoint(folder, config)
        if differing := differing_paths(state.config, _moved(config, state.config)):
            raise ValueError(f"{path} belongs to another config: {'; '.join(differing)}")
        for other in damaged:  # or it would count as the latest
            other.rename(other.with_suffix(".damaged"))
        return _with_events(
            state, [f"{other.name} is damaged; went on from {path.name}" for other in damaged]
        )
    if damaged:
        names = ", ".join(path.name for path in damaged)
        raise ValueError(
            f"every checkpoint in {folder} is damaged: {names}; remove them to begin anew"
        )
    return None


def _with_events(state: TrainState, events: Sequence[str]) -> TrainState:
    progress = state.progress.model_copy(update={"events": (*state.progress.events, *events)})
    return replace(state, progress=progress)


def load_model(path: Path) -> tuple[TrialConfig, nn.Module]:
    """Builds the scored model, on the CPU in eval mode: the averaged weights where the EMA is on.

    Args:
        path: As for `find_checkpoint`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the file is damaged.
    """
    state = read_checkpoint(find_checkpoint(path))
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


def find_checkpoint(path: Path) -> Path:
    """Returns the file that is meant: `path` itself, or in a folder the end of the last epoch.

    Args:
        path: A checkpoint, a folder of them, or one that has such a folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    if path.is_file():
        return path
    for folder in (path, path / "checkpoint"):
        if ends := ends_of_epochs(folder):
            return ends[-1]
    raise FileNotFoundError(
        f"no checkpoint at {path}: expected a file such as runs/NAME/promoted/KEY/checkpoint/"
        f"{BEST}, or the folder of a trial or a run, whose last whole epoch is taken"
    )


def digest(path: Path) -> str:
    """Returns 12 hex digits that name the content of a checkpoint."""
    with path.open("rb") as file:
        file.seek(-_DIGEST, os.SEEK_END)
        return file.read().hex()[:12]


class DamagedError(ValueError):
    """A file that is not what was written."""


def read_checkpoint(path: Path) -> TrainState:
    """Reads one file to the CPU.

    Raises:
        DamagedError: If its bytes are not those that were written.
        ValueError: If it is of another version.
    """
    # Through memory, so that an OSError means the storage and never a short file.
    data = path.read_bytes()
    whole, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(whole).digest() != digest:
        raise DamagedError(f"{path} is damaged, or not a checkpoint of a trial")
    content: dict[str, Any] = torch.load(io.BytesIO(whole), map_location="cpu", weights_only=True)
    config, progress = content.pop("config"), content.pop("progress")
    try:
        return TrainState(
            config=TrialConfig.model_validate_json(config),
            progress=Progress.model_validate_json(progress),
            **content,
        )
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors()[:5])
        raise ValueError(
            f"{path} was written by a version whose configs differ in {fields}; evaluate it with "
            "that version"
        ) from error


def mark_best(path: Path) -> None:
    """Gives a checkpoint the second name `best.pt`, which no pruning takes away."""
    draft = path.with_name(f".{BEST}.{uuid.uuid4().hex[:8]}")
    try:
        os.link(path, draft)
    except OSError:  # storage that knows no second names
        shutil.copyfile(path, draft)
    draft.replace(path.with_name(BEST))
    draft.unlink(missing_ok=True)  # a rename to another name of the same file does nothing


def prune(folder: Path, *, keep: int) -> None:
    """Removes all but the latest `keep` checkpoints, the latest end of an epoch and the best."""
    paths = checkpoints(folder)
    for path in set(paths) - {*paths[-keep:], *ends_of_epochs(folder)[-1:]}:
        path.unlink(missing_ok=True)  # another trial may share the folder
