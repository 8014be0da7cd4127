"""A search on images on disk: trials, a full run, and the evaluation on the validation images."""

import json
from pathlib import Path

import pytest
from launch import DEMO, TINY, records, run, search_folder
from stored_factory import stored_trial, write_folder

from evaluation.result import EvaluationResult

pytestmark = pytest.mark.slow


def test_a_search_on_a_folder_of_images_reads_the_test_images_only_at_the_end(
    tmp_path: Path,
) -> None:
    write_folder(tmp_path / "train", 12)
    write_folder(tmp_path / "val", 5)
    data = stored_trial(tmp_path / "train").data.model_dump(mode="json")
    # Relative paths start here; trials run elsewhere.
    data |= {"path": "train", "test_path": "val", "select_images": 48, "test_images": 24}
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
