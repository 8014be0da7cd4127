"""Mistakes about data, and what the command line says of each.

Ids in lists and manifests, which no command reads by name, are in tests/trainers/test_splits.py and
test_subsets.py; fields of the data, one by one, in test_stored_data.py.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from jpeg_folder import make_folder, truncate
from repository import DEMO
from stored_factory import stored_trial

from search.cli import main
from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.group import alone
from trainers.session import begin_session, state_of

TWO_CLASSES = {"num_classes": 2, "select_images": 4, "test_images": 4, "test_path": "other"}


def trial(**data: Any) -> TrialConfig:
    return stored_trial(Path("images"), data=TWO_CLASSES | data)


def search(**data: Any) -> list[str]:
    """A search on the folder `images`, with fields of its data changed."""
    fields = trial().data.model_dump(mode="json") | {"resolution": 32} | data
    small = [
        "early_check.images=2",
        "reference.images=2",
        "warm_start=[]",
        "promotion.overrides={}",
    ]
    return ["search", str(DEMO), f"base.data={json.dumps(fields)}", *small]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the mistakes name."""
    place = tmp_path_factory.mktemp("mistakes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        make_folders()
        make_packed()
        make_shards()
        make_checkpoints()
    return place


def make_folders() -> None:
    make_folder(Path("images"), per_class=10)
    make_folder(Path("other"), per_class=2)
    make_folder(Path("broken"), per_class=1)
    truncate(Path("broken/bee/0000.jpg"))
    make_folder(Path("lacking"), per_class=10)
    Path("lacking/empty").mkdir()
    shutil.copytree("images", "splits/train")
    shutil.copytree("other", "splits/val")
    Path("notes.txt").write_text("no images")
    Path("flat").mkdir()
    Path("flat/1.jpg").write_bytes(b"")
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("")


def make_packed() -> None:
    main(["data", "pack", "other", "of_other"])
    for name in ("cut", "later", "no_json", "flipped"):
        shutil.copytree("of_other", name)
    change(Path("cut/images.bin"), lambda data: data[:-1])
    change(Path("later/meta.json"), lambda data: data.replace(b'"format": 1', b'"format": 2'))
    change(Path("no_json/meta.json"), lambda data: data[:-9])
    change(Path("flipped/index.bin"), lambda data: data[:-1] + b"?")
    Path("damaged").mkdir()
    Path("damaged/index.bin").write_bytes(b"")
    Path(".begun.parts").mkdir()
    Path(".begun.parts/plan.json").write_text("{")


def change(file: Path, of: Callable[[bytes], bytes]) -> None:
    file.write_bytes(of(file.read_bytes()))


def make_shards() -> None:
    image = Path("images/ant/0000.jpg").read_bytes()
    for name, column, labels in (
        ("img", "img", [0, 1]),
        ("unlabelled", "image", [-1, -1]),
        ("words", "image", ["ant", "bee"]),
        ("shards", "image", [0, 1]),
    ):
        Path(name).mkdir()
        pq.write_table(pa.table({column: [image, image], "label": labels}), f"{name}/0.parquet")
    for name in ("half", "page"):
        Path(name).mkdir()
        Path(name, "0.parquet").write_bytes(Path("shards/0.parquet").read_bytes()[:-9])
    Path("page/0.parquet").write_text("<html>")


def make_checkpoints() -> None:
    """One of untrained weights for each folder of test images; `images` has 20 of them."""
    make_folder(Path("scratched"), per_class=10)
    for file in Path("scratched").glob("ant/*"):
        truncate(file)
    Path("cats/siamese").mkdir(parents=True)
    shutil.copytree("images/ant", "cats/ant")
    shutil.copytree("images/bee", "cats/siamese", dirs_exist_ok=True)
    none = ImageSet(images=torch.zeros(8, 3, 16, 16).byte(), labels=torch.zeros(8).long())
    session = begin_session(
        trial(), none, group=alone(torch.device("cpu")), resume=None, start=None
    )
    for name in ("ghost", "cats", "other", "images", "scratched"):
        config = trial(test_path=name, test_images=11 if name == "images" else 4)
        save_checkpoint(Path("on", name), dataclasses.replace(state_of(session), config=config))
    Path("on/nothing").mkdir()
    Path("on/half.pt").write_bytes(next(Path("on/cats").iterdir()).read_bytes()[:-100])


# fmt: off
BAD: dict[str, tuple[list[str], str]] = {
    # Where the images are.
    "nothing there": (["data", "check", "ghost"], "ghost is not there; name the folder"),
    "nothing there to pack": (["data", "pack", "ghost", "new"], "ghost is not there; name the"),
    "a text": (["data", "pack", "notes.txt", "new"], "notes.txt is none of these; name the folder"),
    "images of no class": (
        ["data", "pack", "flat", "new"], "a source must be a folder with CLASS/IMAGE.jpg files"),
    "a class of no images": (
        ["data", "pack", "lacking", "new"], "1 of 3 folders in"),
    "a folder of splits": (
        search(path="splits", num_classes=10), "classes=all needs num_classes=2, which folder"),
    "a search on a path of nothing": (
        search(path="ghost"), "ghost is not there; name the folder that holds one split"),
    "a search on a file": (search(path="notes.txt"), "notes.txt is a file; name the folder"),
    "test images that are not there": (
        search(test_path="ghost"), "data.test_path: there is nothing at"),
    "a folder that is said to be packed": (
        search(source="packed"), "images has no meta.json; make one with `rampart data pack`"),
    "a field that is not there": (search(seeds=1), "data.seeds: unknown field; did you mean"),
    # Packed sets.
    "half a packed set": (["data", "check", "damaged"], "has no meta.json; make one"),
    "half a packed set to pack": (["data", "pack", "damaged", "new"], "has no meta.json"),
    "a cut packed set": (["data", "check", "cut"], "cut/images.bin must have"),
    "a packed set of a later version": (
        search(source="packed", path="later"), "must have format 1, got 2; pack it again"),
    "a packed set without a description": (
        ["data", "check", "no_json"], "no_json/meta.json must be JSON: "),
    "a changed index": (
        search(source="packed", path="flipped"), "index.bin must have the SHA-256 that meta.json"),
    # Parquet.
    "a web page for a shard": (
        ["data", "check", "page"], "page/0.parquet must be a parquet file; fetch it again"),
    "half a shard": (
        search(source="parquet", path="half"), "half/0.parquet must be a parquet file; fetch it"),
    "another column": (["data", "check", "img"], "lacks image; it has img, label; rename"),
    "words for labels": (["data", "check", "words"], "the column label must be integer"),
    "a split without labels": (["data", "check", "unlabelled"], "-1 marks a split without labels"),
    "a folder that is said to be parquet": (
        search(source="parquet"), "a parquet set needs at least one shard"),
    # Packing.
    "packed already, otherwise": (
        ["data", "pack", "other", "of_other", "quality=80"],
        "packed already, from quality 90, not 80"),
    "packed already, from others": (
        ["data", "pack", "broken", "of_other"], "packed already, from source"),
    "packed already, and damaged since": (
        ["data", "pack", "other", "no_json"], "begin again, or choose another destination"),
    "begun, and damaged since": (
        ["data", "pack", "other", "begun"], "must be the plan of a packing, and is damaged"),
    "over other files": (
        ["data", "pack", "other", "thesis"], "must be new, an empty folder or a packed"),
    "onto itself": (["data", "pack", "other", "other"], "must lie outside the source"),
    "into itself": (["data", "pack", "other", "other/ant/new"], "must lie outside the source"),
    "below a file": (
        ["data", "pack", "other", "notes.txt/new"], "put that right and run the same command"),
    "too many unreadable images": (
        ["data", "pack", "broken", "new", "max_bad=0.4"],
        "at most 0.4 of the 2 images may be unreadable"),
    "no pixels": (
        ["data", "pack", "other", "new", "max_side=0"],
        "max_side: Input should be greater than or equal to"),
    "a quality above all": (
        ["data", "pack", "other", "new", "quality=101"],
        "quality: Input should be less than or equal to 100"),
    "all may be bad": (
        ["data", "pack", "other", "new", "max_bad=1"],
        "max_bad: Input should be less than 1 (got 1)"),
    "a word for a number": (
        ["data", "pack", "other", "new", "workers=many"],
        "workers: Input should be a valid integer"),
    "a slip of the pen": (
        ["data", "pack", "other", "new", "max_sides=8"], "did you mean 'max_side'"),
    "no override": (
        ["data", "pack", "other", "new", "384"], "an override must read dotted.path=value"),
    "no worker": (
        ["data", "check", "other", "workers=0"],
        "workers: Input should be greater than or equal to 1"),
    "a setting of another command": (
        ["data", "check", "other", "quality=80"], "CheckSettings has no field 'quality'"),
    # Subsets and splits.
    "more images than there are": (
        search(train_images=80), "images per class must lie between 1 and 8, which class ant"),
    "more classes than there are": (
        search(classes="drawn", num_classes=3), "classes to draw must lie between 1 and 2"),
    "a hundred classes of two": (
        search(classes="imagenet100", num_classes=100), "has 2; take classes=all or drawn"),
    "every image to select": (search(select_images=20), "select_images must lie between 1 and 19"),
    "every image of a class to select": (
        search(select_images=19), "every class must keep a training image"),
    # The data of checkpoints.
    "no checkpoint": (["evaluate", "on/nothing"], "no checkpoint at on/nothing"),
    "half a checkpoint": (["evaluate", "on/half.pt"], "half.pt is damaged, or not a checkpoint"),
    "test images that are gone": (["evaluate", "on/ghost"], "ghost is not there; name the folder"),
    "test images of other classes": (
        ["evaluate", "on/cats"], "data.test_path must have the classes of data.path, and 2 differ"),
    "two test images of a class": (
        ["evaluate", "on/other"], "every class must have 5 test images, and ant of"),
    "fewer test images than asked for": (
        ["evaluate", "on/images"], "data.test_images (11) must not exceed the 10 test images"),
    "an unreadable test image": (["evaluate", "on/scratched"], "is unreadable: "),
}
# fmt: on


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_exits_with_2_and_one_clear_message(
    mistake: str,
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, words = BAD[mistake]
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2

    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("rampart: ") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not Path("new").exists()
    assert not Path("runs").exists()
