"""Mistakes in `rampart evaluate`: one message each, nothing left behind, and no Ray begun.

Checkpoints and test images that are damaged or gone are in test_bad_data.py.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_factory import save_untrained
from family_factory import TINY
from PIL import Image
from stored_factory import stored_trial

from evaluation.protocols import imagenet_classes, robustbench_ids
from search.cli import main
from trainers.checkpoint import read_checkpoint, save_checkpoint
from trainers.config import TrialConfig
from trainers.data.images import ImageSet
from trainers.group import alone
from trainers.session import begin_session, state_of

LINF = ["--protocol", "robustbench-linf"]
PACKAGE = ["--engine", "pyautoattack"]
STEPS = {"restarts": 1, "targets": 0, "passes": 1, "shrinks": False}


def on(data: str) -> list[str]:
    """The first two of RobustBench's images, which are looked for in `data`."""
    return [*LINF, "images=2", "--data", data]


def custom(*attacks: dict[str, Any]) -> list[str]:
    return ["version=custom", f"attacks={json.dumps([STEPS | attack for attack in attacks])}"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the mistakes name: models of photos and of ImageNet's classes."""
    place = tmp_path_factory.mktemp("mistakes")
    photos = read_checkpoint(save_untrained(place / "photos", seed=1))
    weights = {name: value * torch.nan for name, value in photos.model.items()}
    save_checkpoint(place / "nan", dataclasses.replace(photos, model=weights))
    torch.save(photos.model, place / "foreign.pt")
    save_imagenet(place / "imagenet", model=TINY["convnext"])
    save_imagenet(place / "vit", model=TINY["vit"])
    first, second, *_ = robustbench_ids()
    write_images(place / "val", [first, second])
    write_images(place / "one", [first])
    write_images(place / "renamed", [f"a/{Path(first).name}", f"b/{Path(second).name}"])
    other = next(name for name in imagenet_classes() if not first.startswith(name))
    write_images(place / "moved", [f"{other}/{Path(first).name}", second])
    (place / "torn").mkdir()
    shutil.copytree(place / "val", place / "torn", dirs_exist_ok=True)
    (place / "torn" / first).write_bytes(b"no image")
    return place


def save_imagenet(folder: Path, *, model: dict[str, Any]) -> None:
    """Writes untrained weights for ImageNet's 1000 classes at 16 pixels."""
    data = {"num_classes": 1000, "select_images": 1000, "test_images": 5000}
    stored = stored_trial(Path("images"), data=data).model_dump()
    trial = TrialConfig.model_validate(stored | {"model": model})
    none = ImageSet(images=torch.zeros(8, 3, 16, 16).byte(), labels=torch.zeros(8).long())
    session = begin_session(trial, none, group=alone(torch.device("cpu")), resume=None, start=None)
    save_checkpoint(folder, dataclasses.replace(state_of(session), epoch=1))


def write_images(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (90, 90, 90)).save(root / name)


# fmt: off
BAD: dict[str, tuple[list[str], str]] = {
    # The protocol, and what it is asked of.
    "a slip in the protocol": (
        ["photos", "--protocol", "robustbench-li"],
        "got 'robustbench-li'; did you mean 'robustbench-linf'?"),
    "ImageNet for a model of photos": (
        ["photos", *LINF], "was trained with data.source=photos; take the protocol trained"),
    "images elsewhere for its own split": (
        ["photos", "--data", "val"], "takes the checkpoint's own test split; leave --data out"),
    "another side for its own split": (
        ["photos", "resolution=32"], "is read at its resolution (16), got resolution=32; other"),
    "more images than its own split has": (
        ["photos", "images=25"], "images (25) must not exceed the 24 of protocol trained; ask for"),
    "more images than RobustBench has": (
        ["imagenet", *LINF, "images=5001"], "images (5001) must not exceed the 5000 of protocol"),
    "a radius, which the protocol has": (
        ["photos", "eps=8/255"], "EvaluationConfig has no field 'eps'"),
    # ImageNet's images.
    "images that are not there": (
        ["imagenet", *on("ghost")], "ghost is not there; name the folder"),
    "images that are not all there": (
        ["imagenet", *on("one")], "RobustBench's images are found by their"),
    "classes that are not ImageNet's": (
        ["imagenet", *on("renamed")],
        "RobustBench's images need ImageNet's classes, and "),
    "an image in another class": (
        ["imagenet", *on("moved")], "and 1 of 2 in "),
    "an image that is none": (
        ["imagenet", *on("torn")], "every image of an evaluation must be"),
    "a side that the model cannot take": (
        ["vit", *on("val"), "resolution=18"], "that is a multiple of patch_size (4), got 18; take"),
    # The model.
    "no checkpoint": (["ghost"], "no checkpoint at ghost: expected a file such as"),
    "weights of others": (["foreign.pt"], "foreign.pt is damaged, or not a checkpoint"),
    "weights that are no numbers": (
        ["nan"], "logits must be finite, and those of images 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 14"),
    # The config.
    "no image": (["photos", "images=0"], "images: Input should be greater than 0 (got 0)"),
    "half an image": (["photos", "images=0.5"], "images: Input should be a valid integer"),
    "a side of no model": (["photos", "resolution=8"], "resolution: Input should be greater than"),
    "a batch of nothing": (["photos", "batch_size=0"], "batch_size: Input should be greater than"),
    "a seed below 0": (["photos", "seed=-1"], "seed: Input should be greater than or equal to 0"),
    "a precision without range": (
        ["photos", "precision=fp16"], "precision: Input should be 'fp32' or 'bf16' (got 'fp16')"),
    "a version that is not there": (
        ["photos", "version=fast"], "version: Input should be 'standard', 'plus', 'rand'"),
    "a slip of the pen": (["photos", "image=12"], "did you mean 'images'"),
    "no override": (["photos", "12"], "an override must read dotted.path=value, got '12'"),
    "a value that is no YAML": (["photos", "images=["], "the value of override 'images' is not"),
    # Attacks.
    "a custom version of nothing": (
        ["photos", "version=custom"], "got version=custom and 0 attack(s); set both, or leave"),
    "attacks for a version that has its own": (
        ["photos", custom({"name": "apgd-ce", "steps": 5})[1]],
        "got version=standard and 1 attack(s); set both"),
    "an attack that is not there": (
        ["photos", *custom({"name": "pgd", "steps": 5})],
        "attacks.0.name: Input should be 'apgd-ce', 'apgd-dlr', 'apgd-t', 'fab-t' or 'square'"),
    "an attack without steps": (
        ["photos", *custom({"name": "apgd-ce", "steps": 0})],
        "attacks.0.steps: Input should be greater than or equal to 1 (got 0)"),
    "as many targets as classes": (
        ["photos", *custom({"name": "apgd-t", "steps": 5, "targets": 12})],
        "targets (12) must be less than the number of classes (12)"),
    "targets for an attack without": (
        ["photos", *custom({"name": "square", "steps": 5, "targets": 3})],
        "attacks.0: attack square has no target classes, set targets=0, got targets=3"),
    "untargeted FAB by our engine": (
        ["photos", "version=plus"], "which this engine does not run; take --engine pyautoattack"),
    # Engines.
    "fewer shards than none": (
        ["photos", "--shards", "-1"], "--shards must be at least 1, or 0 for one for each"),
    "shards of the package": (
        ["photos", *PACKAGE, "--shards", "2"], "runs in one process, in float32 and without"),
    "a cluster for the package": (
        ["photos", *PACKAGE, "--address", "nowhere:1"], "leave --shards, --address, precision and"),
    "half precision by the package": (
        ["photos", *PACKAGE, "precision=bf16"], "or take --engine rampart"),
    "compilation by the package": (["photos", *PACKAGE, "compile=true"], "without compilation"),
    "weights that are no numbers, by the package": (
        ["nan", *PACKAGE], "logits must be finite, and those of images 0, 1, 2"),
}
# fmt: on


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_exits_with_2_and_one_clear_message_and_leaves_nothing(
    mistake: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = BAD[mistake]
    monkeypatch.chdir(made)
    before = sorted(made.rglob("*"))

    assert main(["evaluate", *arguments]) == 2

    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("rampart: ") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize("flag", [["--engine", "foolbox"], ["--shards", "two"], ["--eps", "8/255"]])
def test_a_flag_that_makes_no_sense_is_refused_by_its_name(
    flag: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "photos", *flag])

    assert caught.value.code == 2
    assert flag[0] in capsys.readouterr().err


def test_two_images_of_imagenet_are_evaluated_where_nothing_is_wrong(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that each mistake above is the one that is meant."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    quick = custom({"name": "apgd-ce", "steps": 1})

    for model, side in (("imagenet", 16), ("vit", 16), ("vit", 20)):
        arguments = [model, *on("val"), *quick, f"resolution={side}", "--shards", "1"]
        assert main(["evaluate", *arguments]) == 0

    assert capsys.readouterr().out.count("robustbench images") == 3


def test_version_plus_is_refused_by_our_engine_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)

    assert main(["evaluate", "photos", *PACKAGE, "version=plus", "images=2"]) == 0

    printed = capsys.readouterr().out
    assert "autoattack-plus: " in printed
    assert "apgd-dlr 0, fab 0, square 0, apgd-t 0, fab-t 0" in printed
