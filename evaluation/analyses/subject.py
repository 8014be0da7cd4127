"""From paths to the models and images of an analysis, with all that can be wrong about them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from evaluation.analyses.config import (
    FeaturesConfig,
    ImagesConfig,
    SemanticsConfig,
    TransferConfig,
    timm_judge,
)
from evaluation.analyses.judges import Resized, file_digest, load_timm
from evaluation.analyses.outcome import AnalysedImages, AnalysedModel, Subject
from evaluation.weights import model_hash
from models.config import Config
from trainers.checkpoint import digest, ends_of_epochs, find_checkpoint, load_model
from trainers.config import TrialConfig, config_hash
from trainers.data.images import ImageSet
from trainers.data.load import load_held_out


@dataclass(frozen=True, kw_only=True)
class LoadedSubject:
    """A subject, and what a result says of it."""

    subject: Subject
    models: tuple[AnalysedModel, ...]
    images: AnalysedImages | None


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A model on the CPU."""

    path: str
    """As it was named."""
    file: Path
    digest: str
    model: nn.Module
    side: int
    """Of its images, in pixels."""
    trial: TrialConfig | None
    """None for a model of timm."""
    origin: str


def checkpoints_of(kind: str, path: Path) -> list[Path]:
    """Returns the checkpoint at `path`; for `effectiveness`, the ends of all epochs in a folder.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = find_checkpoint(path).absolute()
    if kind == "effectiveness" and path.is_dir():
        return ends_of_epochs(found.parent)
    return [found]


def load_subject(
    checkpoints: Sequence[Path], config: Config, *, device: torch.device
) -> LoadedSubject:
    """Loads the models in the order of `checkpoints` and `config`, and the images of the first.

    Raises:
        ValueError: If a model has other classes, another image size or is there twice, if a file is
            damaged, or if the split has fewer images than `config` asks for.
        OSError: If a file is not there.
    """
    loaded = [_load_checkpoint(str(path)) for path in checkpoints]
    first = loaded[0].trial
    assert first is not None
    loaded += [_load_other(text, first, config) for text in _others(config)]
    _check_differ(loaded)
    images = _images(first, config)
    names = _names(loaded)
    return LoadedSubject(
        subject=Subject(
            models={
                name: _for_images(one, side=loaded[0].side).to(device)
                for name, one in zip(names, loaded, strict=True)
            },
            images=images,
            device=device,
        ),
        models=tuple(_describe(n, one) for n, one in zip(names, loaded, strict=True)),
        images=AnalysedImages(split=config.split, n=len(images), data_hash=images.hash)
        if isinstance(config, ImagesConfig)
        else None,
    )


def models_digest(models: Sequence[AnalysedModel]) -> str:
    """Returns 12 hex digits that name the files of all models: of one, its own digest."""
    if len(models) == 1:
        return models[0].digest
    return hashlib.sha256(" ".join(model.digest for model in models).encode()).hexdigest()[:12]


def _others(config: Config) -> tuple[str, ...]:
    match config:
        case TransferConfig():
            return config.others
        case SemanticsConfig():
            return config.judges
        case _:
            return ()


def _load_checkpoint(text: str) -> _Loaded:
    file = find_checkpoint(Path(text)).absolute()
    trial, model = load_model(file)
    return _Loaded(
        path=text,
        file=file,
        digest=digest(file),
        model=model,
        side=trial.data.resolution,
        trial=trial,
        origin=config_hash(trial),
    )


def _load_other(text: str, first: TrialConfig, config: Config) -> _Loaded:
    """Loads a model that looks at the images of the first one."""
    classes, side = first.data.num_classes, first.data.resolution
    is_judge = isinstance(config, SemanticsConfig)
    if is_judge and (pair := timm_judge(text)):
        return _load_timm(text, *pair, num_classes=classes)
    other = _load_checkpoint(text)
    assert other.trial is not None
    theirs = other.trial.data.num_classes
    if theirs != classes:
        raise ValueError(
            f"all models must have the classes of the first, {classes}, and {text} has {theirs}; "
            "leave it out"
        )
    if other.side != side and not is_judge:
        raise ValueError(
            f"all models must take images of {side} pixels as the first does, and {text} takes "
            f"{other.side}; leave it out"
        )
    return other


def _load_timm(text: str, name: str, file: Path, *, num_classes: int) -> _Loaded:
    model, side = load_timm(name, file, num_classes=num_classes)
    return _Loaded(
        path=text,
        file=file.absolute(),
        digest=file_digest(file),
        model=model,
        side=side,
        trial=None,
        origin=f"timm {name}",
    )


def _check_differ(loaded: Sequence[_Loaded]) -> None:
    seen: dict[str, str] = {}
    for one in loaded:
        if one.digest in seen:
            raise ValueError(
                f"all models must differ, and {one.path} is {seen[one.digest]} again; leave it out"
            )
        seen[one.digest] = one.path


def _names(loaded: Sequence[_Loaded]) -> list[str]:
    """Returns the names of timm's models, and what tells the other files apart: `default/e00012`.

    What every checkpoint has in its path is left out; two weights of one model keep the file.
    """
    files = [one.file for one in loaded if one.trial is not None]
    common = Path(os.path.commonpath([file.parent for file in files]))
    if common.name == "checkpoint":
        common = common.parent.parent  # the name of the run tells more than the epoch
    names = [
        one.origin.removeprefix("timm ") if one.trial is None else _short(one.file, common)
        for one in loaded
    ]
    return [
        one.path if names.count(name) > 1 else name for name, one in zip(names, loaded, strict=True)
    ]


def _short(file: Path, common: Path) -> str:
    parts = file.relative_to(common).with_suffix("").parts
    *folders, name = (part for part in parts if part != "checkpoint")
    return "/".join([*folders, name.removesuffix("-s000000")])


def _for_images(one: _Loaded, *, side: int) -> nn.Module:
    return one.model if one.side == side else Resized(one.model, side=one.side).eval()


def _describe(name: str, one: _Loaded) -> AnalysedModel:
    return AnalysedModel(
        name=name,
        digest=one.digest,
        model_hash=model_hash(one.model),
        origin=one.origin,
        threat=one.trial.threat if one.trial else None,
    )


def _images(trial: TrialConfig, config: Config) -> ImageSet:
    data = trial.data
    if isinstance(config, FeaturesConfig):
        shape = (0, 3, data.resolution, data.resolution)
        return ImageSet(
            images=torch.zeros(shape, dtype=torch.uint8), labels=torch.zeros(0, dtype=torch.int64)
        )
    assert isinstance(config, ImagesConfig)
    available = data.test_images if config.split == "test" else data.select_images
    if config.images > available:
        raise ValueError(
            f"images ({config.images}) must not exceed the checkpoint's data.{config.split}_images "
            f"({available}); ask for fewer"
        )
    held_out = load_held_out(data, config.split, threads=torch.get_num_threads())
    return held_out.first(config.images)
