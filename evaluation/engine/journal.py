"""What an evaluation has found so far, on disk: one line for each image and each finished run.

Each process appends to a file of its own, so that any number of them may work side by side, and a
killed one loses no more than the runs that it was in the middle of.
"""

import dataclasses
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from evaluation.engine.clean import Clean
from evaluation.engine.engine import Outcome
from evaluation.examples import EXAMPLES
from trainers.atomic import write_atomically


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that the journals of an evaluation hold."""

    clean: dict[int, Clean] = field(default_factory=dict[int, Clean])
    """By image."""
    outcomes: dict[tuple[int, int], Outcome] = field(default_factory=dict[tuple[int, int], Outcome])
    """By image and number of the stage."""
    seconds: float = 0.0
    """Spent by all processes together."""

    @property
    def known(self) -> dict[tuple[int, int], bool]:
        """Whether stage s broke image i, by (i, s)."""
        return {place: outcome.is_broken for place, outcome in self.outcomes.items()}


class Journal:
    """Appends to a file of its own in `folder`; what it wrote outlives a killed process."""

    def __init__(self, folder: Path) -> None:
        """Creates `folder` if need be, and a file in it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = (folder / f"{uuid.uuid4().hex}.jsonl").open("ab", buffering=0)
        self._broken: set[int] = set()

    def write(self, found: Clean | Outcome, x_adv: Tensor | None, *, seconds: float) -> None:
        """Appends a line, after the adversarial image where it may become an example.

        Args:
            seconds: Since this process began.
        """
        if isinstance(found, Outcome) and x_adv is not None:
            self._keep(found, x_adv)
        kind = "clean" if isinstance(found, Clean) else "outcome"
        line = {kind: dataclasses.asdict(found), "seconds": round(seconds, 3)}
        self._file.write((json.dumps(line) + "\n").encode())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _keep(self, outcome: Outcome, x_adv: Tensor) -> None:
        """Keeps the images of the first places: all that can be among the first of all."""
        self._broken.add(outcome.image)
        if outcome.image in sorted(self._broken)[:EXAMPLES]:
            pixels = x_adv.numpy().astype("<f4").tobytes()
            write_atomically(_example(self._folder, outcome.image, outcome.stage), pixels)


def read_journals(folder: Path) -> Found:
    """Returns what all processes have written; a line that a kill cut short is left out.

    Raises:
        ValueError: If a file holds something else.
    """
    found, seconds = Found(), 0.0
    for path in sorted(folder.glob("*.jsonl")):
        try:
            seconds += _read_into(found, path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} is not the journal of an evaluation ({error}); delete the folder to begin "
                "anew"
            ) from error
    return dataclasses.replace(found, seconds=seconds)


def read_example(folder: Path, image: int, stage: int, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the adversarial image (c, h, w) with which `stage` broke `image`."""
    pixels = np.frombuffer(_example(folder, image, stage).read_bytes(), dtype="<f4")
    return pixels.reshape(shape)


def _example(folder: Path, image: int, stage: int) -> Path:
    return folder / f"{image:06d}-{stage:03d}.f4"


def _read_into(found: Found, path: Path) -> float:
    """Adds what a file holds to `found` and returns the seconds of its process."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    seconds = 0.0
    for text in whole.splitlines():
        line: dict[str, Any] = json.loads(text)
        seconds = line["seconds"]
        if "clean" in line:
            one = Clean(**line["clean"] | {"targets": tuple(line["clean"]["targets"])})
            found.clean[one.image] = one
        else:
            outcome = Outcome(**line["outcome"])
            found.outcomes[outcome.image, outcome.stage] = outcome
    return seconds
