"""What is evaluated: a model, a threat and the images, from a checkpoint and a protocol."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from evaluation.config import EvaluationConfig
from evaluation.crop import at_side, centre_crop, published_crop, read_images
from evaluation.protocols import (
    Protocol,
    check_robustbench_model,
    find_robustbench,
    imagenet_labels,
    named_protocol,
    robustbench_ids,
)
from trainers.checkpoint import load_model
from trainers.config import TrialConfig
from trainers.data.config import PhotosConfig
from trainers.data.images import ImageSet
from trainers.data.load import load_held_out
from trainers.data.open import open_source
from trainers.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that an attack needs, in memory."""

    trial: TrialConfig
    """That trained the model."""
    model: nn.Module
    """On the CPU, in eval mode, at the side of the images."""
    images: ImageSet
    threat: ThreatModel
    split: str
    """`test` or `robustbench`."""


def load_task(
    checkpoint: Path,
    config: EvaluationConfig,
    *,
    data: str,
    threads: int,
    part: slice = slice(None),
) -> Task:
    """Reads the checkpoint and the images that `config.protocol` names.

    Args:
        part: Which of the first `config.images` images are read; all of them.
        data: Where ImageNet's validation images are, in the form of the checkpoint's data; empty
            for where the checkpoint says.

    Raises:
        ValueError: If there is no such protocol, the images are too few or missing, or the model
            cannot take them.
    """
    trial, model = load_model(checkpoint)
    protocol = protocol_of(config, trial)
    if config.images > protocol.n:
        raise ValueError(
            f"images ({config.images}) must not exceed the {protocol.n} of protocol "
            f"{protocol.name}; ask for fewer"
        )
    if protocol.images == "robustbench":
        images = _robustbench_images(trial, config, data=data, threads=threads, part=part)
    else:
        images = _test_images(trial, config, data=data, threads=threads, part=part)
    side = config.resolution
    if side != trial.data.resolution:
        model = at_side(model, trial.model, num_classes=trial.data.num_classes, side=side)
    return Task(
        trial=trial,
        model=model.eval(),
        images=images,
        threat=protocol.threat,
        split=protocol.images,
    )


def protocol_of(config: EvaluationConfig, trial: TrialConfig) -> Protocol:
    """Returns the protocol that `config` names, for a checkpoint of `trial`."""
    return named_protocol(
        config.protocol, trained_threat=trial.threat, test_images=trial.data.test_images
    )


def _robustbench_images(
    trial: TrialConfig, config: EvaluationConfig, *, data: str, threads: int, part: slice
) -> ImageSet:
    check_robustbench_model(trial.data)
    stored = trial.data
    assert not isinstance(stored, PhotosConfig)  # just refused
    assert stored.source in ("folder", "packed", "parquet")
    source = open_source(stored.source, Path(data or stored.test_path))
    ids = robustbench_ids()[: config.images][part]
    side = config.resolution
    is_own = side == stored.resolution
    crop = (
        centre_crop(side=side, share=stored.crop_share)
        if is_own
        else published_crop(trial.model, side=side)
    )
    index = find_robustbench(source, ids)
    return read_images(source, index, crop, labels=imagenet_labels(ids), threads=threads)


def _test_images(
    trial: TrialConfig, config: EvaluationConfig, *, data: str, threads: int, part: slice
) -> ImageSet:
    if data:
        raise ValueError(
            f"protocol {config.protocol} takes the checkpoint's own test split; leave --data out, "
            "or name a protocol of RobustBench"
        )
    side, own = config.resolution, trial.data.resolution
    if side != own:
        raise ValueError(
            f"the checkpoint's own test split is read at its resolution ({own}), got "
            f"resolution={side}; other sides are for the protocols of RobustBench"
        )
    first, last, step = part.indices(config.images)
    return load_held_out(trial.data, "test", threads=threads, part=slice(first, last, step))
