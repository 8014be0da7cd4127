"""`rampart analyse`: files that last, pictures that say what they show, mistakes in one message."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from checkpoint_factory import save_untrained
from matplotlib.container import ErrorbarContainer

from evaluation.analyses.analyse import RUNS, read_arrays
from evaluation.analyses.config import KINDS
from evaluation.analyses.defaults import default_config
from evaluation.weights import model_hash
from search.analysis.pictures import analysis_figure
from search.cli import main
from trainers.checkpoint import digest, load_model, read_checkpoint
from trainers.data.config import PHOTO_CLASSES

QUICK: dict[str, list[str]] = {
    "eps_curve": ["eps=8/255,64/255", "strong={ce_steps: 2, t_steps: 2, targets: 1}"],
    "effectiveness": ["steps=1,2", "oracle_steps=3"],
    "convergence": ["points=1", "starts=2", "steps=0,1,3"],
    "transfer": ["steps=2", "with=b,other"],
    "norms": ["strong={ce_steps: 2, t_steps: 2, targets: 1}"],
    "semantics": ["steps=2", "judges=b,other"],
    "gradients": ["steps=2"],
    "features": ["steps=2"],
    "masking": ["apgd_steps=2", "few_steps=1", "many_steps=2", "square_queries=2"],
}
"""Overrides for a kind that takes under a second."""
JUDGE = "test_efficientnet"
"""A model of timm for 160 pixels, made for tests."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints that the commands name."""
    place = tmp_path_factory.mktemp("analyses")
    for epoch in (1, 2):
        save_untrained(place / "a" / "checkpoint", seed=epoch, epoch=epoch)
    save_untrained(place / "b" / "checkpoint", seed=3)
    save_untrained(place / "other", seed=4)
    save_untrained(place / "large", seed=4, data={"resolution": 32})
    torch.save(timm.create_model(JUDGE, num_classes=12).state_dict(), place / "judge.pt")
    torch.save(timm.create_model(JUDGE, num_classes=10).state_dict(), place / "ten.pt")
    (place / "half.pt").write_bytes(next((place / "b" / "checkpoint").iterdir()).read_bytes()[:-9])
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, to be written to."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(kind: str, *overrides: str) -> tuple[Any, Path]:
    """Analyses `a` and returns the result and its folder."""
    assert main(["analyse", "a", kind, *overrides]) == 0
    out = max(
        Path("a/checkpoint/analyses").glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime
    )
    return RUNS[kind].result.model_validate_json((out / "result.json").read_bytes()), out


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_leaves_a_result_its_evidence_and_a_picture(
    kind: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, out = run(kind, *QUICK[kind])

    file = place / "a/checkpoint/e00002-s000000.pt"
    mine = next(model for model in result.models if model.digest == digest(file))
    assert (result.schema_version, result.kind) == (1, kind)
    assert mine.model_hash == model_hash(load_model(file)[1])
    assert mine.threat == read_checkpoint(file).config.threat
    assert (result.images is None) == (kind == "features")
    assert read_arrays(out)
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == [
        "arrays.npz",
        "picture.png",
        "result.json",
    ]
    printed = capsys.readouterr().out
    assert str(out / "result.json") in printed
    assert str(out / "picture.png") in printed


def test_a_second_call_shows_the_finished_result_and_draws_a_lost_picture_anew(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, out = run("transfer", *QUICK["transfer"])
    before = (out / "result.json").stat().st_mtime_ns
    (out / "picture.png").unlink()
    worked = capsys.readouterr().out

    again, _ = run("transfer", *QUICK["transfer"])

    assert again == first
    assert (out / "result.json").stat().st_mtime_ns == before
    assert (out / "picture.png").exists()
    shown = capsys.readouterr().out
    assert shown != worked
    assert worked.endswith(shown)  # the table and the paths, without the progress before them


def test_other_settings_and_other_weights_get_folders_of_their_own(place: Path) -> None:
    _, out = run("norms", *QUICK["norms"], "seed=1")
    _, other_seed = run("norms", *QUICK["norms"], "seed=2")
    shutil.copy("b/checkpoint/e00001-s000000.pt", "a/checkpoint/e00003-s000000.pt")
    _, other_weights = run("norms", *QUICK["norms"], "seed=1")

    digests, hashes = zip(
        *(path.name.split("-")[1:] for path in (out, other_seed, other_weights)), strict=True
    )
    assert digests[0] == digests[1] != digests[2]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_folder_of_epochs_gives_a_curve_for_each(place: Path) -> None:
    both, _ = run("effectiveness", *QUICK["effectiveness"])

    assert [model.model for model in both.findings.models] == ["a/e00001", "a/e00002"]


def test_a_file_among_epochs_gives_one_curve(place: Path) -> None:
    file = "a/checkpoint/e00001-s000000.pt"

    assert main(["analyse", file, "effectiveness", *QUICK["effectiveness"]]) == 0

    (path,) = Path("a/checkpoint/analyses").glob("effectiveness-*/result.json")
    assert [model["name"] for model in json.loads(path.read_text())["models"]] == ["a/e00001"]
    assert path.parent.name.split("-")[1] == digest(Path(file))


def test_a_model_of_timm_judges_with_weights_from_a_file(place: Path) -> None:
    result, _ = run("semantics", "steps=2", "images=12", f"judges={JUDGE}:judge.pt,b")

    assert [judge.judge for judge in result.findings.judges] == [JUDGE, "b/e00001"]
    assert [model.origin for model in result.models][1] == f"timm {JUDGE}"
    assert result.config.judges[0] == f"{JUDGE}:{place / 'judge.pt'}"


def test_the_select_split_is_analysed_where_it_is_asked_for(place: Path) -> None:
    test, _ = run("effectiveness", *QUICK["effectiveness"], "images=12")
    select, _ = run("effectiveness", *QUICK["effectiveness"], "images=12", "split=select")

    assert test.images
    assert select.images
    assert (test.images.split, select.images.split) == ("test", "select")
    assert test.images.data_hash != select.images.data_hash


def test_the_picture_of_a_curve_has_every_accuracy_and_the_eps_of_training(place: Path) -> None:
    result, out = run("eps_curve", *QUICK["eps_curve"])

    axes = analysis_figure(result, read_arrays(out), classes=PHOTO_CLASSES).axes[0]

    (bars,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    assert bars.lines[0] is not None
    points = result.findings.points
    assert list(np.asarray(bars.lines[0].get_xdata())) == pytest.approx(
        [0, *(255 * point.eps for point in points)]
    )
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert np.asarray(dotted[0].get_xdata())[0] == pytest.approx(32)


def test_the_matrix_shows_clean_accuracies_and_each_models_own_in_bold(place: Path) -> None:
    result, out = run("transfer", *QUICK["transfer"])

    texts = analysis_figure(result, read_arrays(out), classes=PHOTO_CLASSES).axes[0].texts

    found = result.findings
    expected = [*found.clean.values(), *(a for row in found.rows for a in row.targets.values())]
    assert [text.get_text() for text in texts] == [
        f"{accuracy.value:.1%}".replace("%", " %") for accuracy in expected
    ]
    assert [n for n, text in enumerate(texts) if text.get_fontweight() == "bold"] == [3, 7, 11]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_defaults_for_every_norm(kind: str, made: Path) -> None:
    trial = read_checkpoint(made / "other" / "e00001-s000000.pt").config
    for norm, eps in (("linf", 0.5), ("l2", 2.0), ("l1", 75.0)):
        tree = trial.model_dump(mode="json") | {"threat": {"norm": norm, "eps": eps}}

        config = default_config(kind, type(trial).model_validate(tree))

        assert type(config).model_validate(json.loads(config.model_dump_json())) == config


# fmt: off
BAD: dict[str, tuple[list[str], str]] = {
    "no such kind": (["a", "norm"], "an analysis must be one of eps_curve, effectiveness, "),
    "nearly a kind": (["a", "transfers"], "got 'transfers'; did you mean 'transfer'?"),
    "no checkpoint": (["ghost", "norms"], "no checkpoint at ghost: expected a file such as"),
    "half a checkpoint": (["half.pt", "norms"], "half.pt is damaged, or not a checkpoint"),
    "a field of another kind": (["a", "norms", "oracle_steps=3"], "no field 'oracle_steps'"),
    "no override": (["a", "norms", "twelve"], "an override must read dotted.path=value"),
    "a word for a number": (["a", "norms", "images=many"], "images: Input should be a valid integ"),
    "a slip of units": (["a", "eps_curve", "eps=4"], "did you mean '4/255'?"),
    "too many images": (
        ["a", "gradients", "images=25"],
        "images (25) must not exceed the checkpoint's data.test_images (24)"),
    "too many points": (["a", "convergence", "points=25"], "points (25) must not exceed"),
    "too many targets": (["a", "norms", "strong.targets=12"], "targets (12) must be"),
    "nobody to transfer to": (["a", "transfer"], "needs a second model, got none"),
    "nobody there to transfer to": (["a", "transfer", "with=ghost"], "no checkpoint at "),
    "itself to transfer to": (["a", "transfer", "with=a"], "all models must differ, and "),
    "another size to transfer to": (
        ["a", "transfer", "with=large"], "all models must take images of 16 pixels as the first"),
    "no judge": (["a", "semantics"], "needs a classifier that judges, got none"),
    "a judge of other classes": (
        ["a", "semantics", f"judges={JUDGE}:ten.pt"],
        "a judge must have the classes of the checkpoint, 12, and the weights for"),
    "a judge without weights": (
        ["a", "semantics", f"judges={JUDGE}:ghost.pt"], "weights must be a file, found none"),
    "a judge that timm has not": (
        ["a", "semantics", "judges=test_efficientnets:judge.pt"], "nearest: test_efficientnet"),
    "a judge that is no model": (
        ["a", "semantics", f"judges={JUDGE}:half.pt"], "half.pt must hold the weights of timm's"),
    "a perturbation without a picture": (
        ["a", "semantics", "threat.norm=l2"], "threat.norm must be linf"),
    "no eps that breaks all": (
        ["a", "masking", "eps_factors=0.5"], "must contain a factor above 1, such as 8"),
    "a class that is not there": (
        ["a", "features", "classes=12"], "classes must be numbers below 12"),
}
# fmt: on


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_exits_with_2_and_one_clear_message(
    mistake: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, words = BAD[mistake]

    assert main(["analyse", *arguments]) == 2

    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("rampart: ") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not list(place.rglob("analyses"))


def test_a_damaged_result_is_refused_with_the_way_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run("transfer", *QUICK["transfer"])
    (out / "result.json").write_text("{}")

    assert main(["analyse", "a", "transfer", *QUICK["transfer"]]) == 2

    assert "delete its folder to begin anew" in capsys.readouterr().err


def test_a_result_of_other_images_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = run("transfer", *QUICK["transfer"])
    tree = json.loads((out / "result.json").read_text())
    tree["images"]["data_hash"] = "0" * 12
    (out / "result.json").write_text(json.dumps(tree))

    assert main(["analyse", "a", "transfer", *QUICK["transfer"]]) == 2

    assert "belongs to another evaluation: images is" in capsys.readouterr().err
