"""What became of each image: the table that a reviewer may ask for."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from evaluation.engine.clean import Clean
from evaluation.engine.engine import Outcome
from evaluation.engine.stages import Stage
from evaluation.progress import MISCLASSIFIED, ROBUST
from trainers.atomic import write_atomically


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """The outcome of one image."""

    image: int
    """Place in the evaluated list."""
    label: int
    predicted: int
    clean_margin: float
    """Logit of the label minus the best other one, without attack."""
    outcome: str
    """`misclassified` without attack, the attack that broke it first, or `robust`."""
    target: int
    """Class that this attack aimed at; -1 where there is none."""
    restart: int
    """Its restart, from 0; -1 where there is none."""
    iteration: int
    """At which it was broken, 0 at the start; -1 where it was not."""
    margin: float
    """Of the adversarial image; NaN where there is none."""
    norm: float
    """Of its perturbation, in the norm of the threat; 0 where there is none."""


def results_of(
    clean: Iterable[Clean],
    stages: Sequence[Stage],
    outcomes: Mapping[tuple[int, int], Outcome],
) -> list[ImageResult]:
    """Returns the outcome of each image, in order: the first stage that broke it counts.

    Raises:
        ValueError: If an outcome that is needed is missing.
    """
    return [_result_of(one, stages, outcomes) for one in sorted(clean, key=lambda one: one.image)]


def is_decided(
    one: Clean, stages: Sequence[Stage], outcomes: Mapping[tuple[int, int], Outcome]
) -> bool:
    """Whether nothing is left to do for an image."""
    if one.predicted != one.label:
        return True
    for stage in stages:
        outcome = outcomes.get((one.image, stage.number))
        if outcome is None:
            return False
        if outcome.is_broken:
            return True
    return True


def write_images(path: Path, results: Sequence[ImageResult]) -> None:
    """Writes a parquet file with a row for each image."""
    buffer = io.BytesIO()
    pd.DataFrame([asdict(result) for result in results]).to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())


def _result_of(
    one: Clean, stages: Sequence[Stage], outcomes: Mapping[tuple[int, int], Outcome]
) -> ImageResult:
    if not is_decided(one, stages, outcomes):
        raise ValueError(f"image {one.image} is not decided yet")
    is_right = one.predicted == one.label
    ends = (outcomes.get((one.image, stage.number)) for stage in stages)
    broken = next((end for end in ends if end and end.is_broken), None) if is_right else None
    stage = None if broken is None else stages[broken.stage]
    return ImageResult(
        image=one.image,
        label=one.label,
        predicted=one.predicted,
        clean_margin=one.margin,
        outcome=stage.attack.name if stage else ROBUST if is_right else MISCLASSIFIED,
        target=one.targets[stage.rank - 1] if stage and stage.rank else -1,
        restart=stage.restart if stage else -1,
        iteration=broken.iteration if broken else -1,
        margin=broken.margin if broken else float("nan"),
        norm=broken.norm if broken else 0.0,
    )
