"""Explicit lists of images: from a file, or RobustBench's 5000 validation images of ImageNet."""

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.manifest import find_ids
from trainers.data.source import Indices, Source

_VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}")
_LISTS = ("helper_files/imagenet_test_image_ids.txt", "data/imagenet_test_image_ids.txt")
"""Where versions of robustbench keep their list."""


def find_listed(source: Source, ids: Sequence[str], *, classes: Sequence[int]) -> Indices:
    """Returns the listed images that are of `classes`, in the order of the list.

    ImageNet's validation images are recognised by their number, in whatever folder they lie.

    Raises:
        ValueError: If `source` lacks some, or none is of these classes.
    """
    indices = find_ids(source, ids, key=_validation_number)
    chosen = indices[np.isin(source.labels[indices], np.array(classes))]
    if not len(chosen):
        raise ValueError(
            f"the list must have images of the chosen classes, and none of its {len(ids)} is of "
            f"{', '.join(source.classes[label] for label in classes[:10])}"
        )
    return chosen


def robustbench_list() -> Path | None:
    """Returns the list of 5000 ids in the installed package `robustbench`, without importing it."""
    found = importlib.util.find_spec("robustbench")
    folders = (found.submodule_search_locations or []) if found else []
    files = [Path(folder) / name for folder in folders for name in _LISTS]
    return next((file for file in files if file.is_file()), None)


def read_ids(path: Path) -> tuple[str, ...]:
    """Reads ids from a text file, one per line, or a JSON list.

    Raises:
        ValueError: If the file is not there, is neither, or is empty, or an id comes twice.
    """
    if not path.is_file():
        came = "a folder" if path.is_dir() else "not there"
        raise ValueError(f"a list of ids must be a file, and {path} is {came}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"a list of ids must be UTF-8 text, one id to a line, or a JSON list, and {path} is no "
            f"text: {error}"
        ) from error
    if path.suffix == ".json":
        ids = _parse_json(path, text)
    else:
        ids = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not ids:
        raise ValueError(f"a list of ids must name at least one image, and {path} is empty")
    text, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise ValueError(f"the ids in a list must differ, and {path} has {text} {times} times")
    return ids


def _parse_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        stored = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be JSON, for its name says so: {error}") from None
    if not isinstance(stored, list) or not all(isinstance(each, str) for each in stored):
        raise ValueError(f'{path} must be a JSON list of texts, such as ["a.jpg", "b.jpg"]')
    return tuple(stored)


def _validation_number(text: str) -> str:
    found = _VALIDATION.search(text)
    return found.group() if found else text
