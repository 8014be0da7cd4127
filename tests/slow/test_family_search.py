"""A search over two families within a constraint, from clean starts that its trials share."""

import json
from pathlib import Path

import pytest
from launch import TINY, records, run, search_folder
from repository import DEMO

from search.books.records import read_promoted
from search.folder import SearchFolder
from search.load import load_experiment
from search.space.space import BranchAxis
from trainers.checkpoint import load_model

pytestmark = pytest.mark.slow
WIDE = "[64, 128]"


def overrides() -> list[str]:
    """Returns the tiny search over two of the demo's families; wide ConvNeXts are too large."""
    axis = load_experiment(DEMO, {}).space["model"]
    assert isinstance(axis, BranchAxis)
    sections = {name: branch.section for name, branch in axis.branches.items()}
    convnext = {**sections["convnext"], "depths": [1, 1], "widths": [16, 32]}
    widths = {"choice": [[16, 32], [64, 128]]}
    space = {
        "model": {
            "branch": {
                "convnext": {"section": convnext, "space": {"widths": widths}},
                "resnet": {"section": sections["resnet"], "space": {}},
            }
        },
        "attack.steps": {"int": [1, 2]},
    }
    kept = [text for text in TINY if not text.startswith(("space=", "sampler="))]
    return [
        *kept,
        f"space={json.dumps(space)}",
        "constraints={params_m: {max: 0.1}}",
        "sampler={name: random, seed: 10}",
        "base.weights.clean_epochs=1",
        "base.freeze=stem",
    ]


def clean_starts(folder: SearchFolder) -> int:
    return len(list(folder.clean_starts.glob("*/e*.pt")))


def test_a_search_over_families_keeps_to_its_constraint_and_shares_clean_starts(
    tmp_path: Path,
) -> None:
    run(["search", str(DEMO), *overrides()], tmp_path)

    folder, found = search_folder(tmp_path), records(tmp_path)
    assert len(found) == 4
    assert len({record.params["model"] for record in found}) > 1
    for record in found:
        assert record.progress is not None
        assert record.progress.params_m <= 0.1
        assert record.progress.start == "clean training, epochs=1"
    # The sampler's numbers go on past what was rejected.
    assert found[-1].number > 3
    full = [run for run, _ in read_promoted(folder.promoted)]
    models = {record.config.model.model_dump_json() for record in [*found, *full]}
    assert clean_starts(folder) == len(models)
    load_model(folder.promoted / "default" / "checkpoint")
