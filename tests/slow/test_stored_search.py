"""A search on images on disk: trials, a full run, and the evaluation on the validation images."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from launch import TINY, records, run, search_folder
from repository import DEMO
from stored_factory import stored_trial, write_folder

from evaluation.result import EvaluationResult

pytestmark = pytest.mark.slow

RECORDER = Path(__file__).with_name("recorder")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """That a process opened a file."""

    time: float
    process: int
    path: Path


def openings(log: Path, *, below: Path) -> list[Opening]:
    found: list[Opening] = []
    for line in log.read_text().splitlines():
        time, process, path = line.split(" ", 2)
        found.append(Opening(time=float(time), process=int(process), path=Path(path)))
    return [opening for opening in found if opening.path.is_relative_to(below)]


def test_a_search_on_a_folder_of_images_reads_the_test_images_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = tmp_path / "images/train", tmp_path / "images/val"
    write_folder(train, 12)
    write_folder(val, 5)
    monkeypatch.setenv("PYTHONPATH", str(RECORDER))
    monkeypatch.setenv("RECORD_BELOW", str(tmp_path / "images"))
    monkeypatch.setenv("RECORD_TO", str(tmp_path / "opened"))
    data = stored_trial(train).data.model_dump(mode="json")
    # Relative paths start here; trials run elsewhere.
    data |= {"path": "images/train", "test_path": "images/val"}
    data |= {"select_images": 48, "test_images": 24}
    kept = [text for text in TINY if not text.startswith("base.data.")]
    arguments = [*kept, f"base.data={json.dumps(data)}", "base.compute.loaders=1"]
    arguments += ["base.batch_size=32", "base.augment.crop_scale=0.5"]
    arguments += ["budget.trials=2", "early_check.images=24"]

    run(["search", str(DEMO), *arguments], tmp_path)

    assert all(record.status in ("completed", "stopped") for record in records(tmp_path))
    folder = search_folder(tmp_path)
    results = [
        EvaluationResult.model_validate_json(path.read_text())
        for path in folder.promoted.glob("*/result.json")
    ]
    assert [result.robust.n for result in results] == [12, 12]
    trials_end = max(record.finished_at or 0 for record in records(tmp_path))
    full_run_trained = min(p.stat().st_mtime for p in folder.promoted.glob("*/progress.json"))
    read, tested = (openings(tmp_path / "opened", below=place) for place in (train, val))
    searched = {opening.path for opening in read if opening.time < trials_end}
    assert searched == set(train.glob("*/*"))
    assert min(opening.time for opening in tested) > max(trials_end, full_run_trained)
    assert not {opening.process for opening in tested} & {opening.process for opening in read}
    assert len({opening.path for opening in tested}) == 24
