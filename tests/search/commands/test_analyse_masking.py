"""`rampart analyse CHECKPOINT masking`: a trained network, and the same with its logits scaled."""

import dataclasses
from pathlib import Path

import pytest
import torch
from base_trial import base_trial
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure

from evaluation.analyses.masking import MaskingResult
from search.analysis.pictures import masking_figure
from search.cli import main
from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import load_train
from trainers.group import alone
from trainers.loop import fit

TRIAL = TrialConfig.model_validate(
    base_trial(
        data={"train_images": 240, "test_images": 48},
        model={"stem": "patch", "layer_scale": 0},
        optim={"lr": 4e-3, "reference_batch": 24, "weight_decay": 0.0},
        epochs=12,
        batch_size=24,
    )
)
QUICK = [
    "threat.eps=16/255",
    "apgd_steps=10",
    "eps_factors=0.5,8",
    "few_steps=3",
    "many_steps=10",
    "square_queries=50",
    "noise_draws=2",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained checkpoint, and one whose logits are a thousand times larger."""
    place = tmp_path_factory.mktemp("masking")
    *_, state = fit(
        TRIAL,
        images=load_train(TRIAL),
        rungs=(),
        evaluate=None,
        group=alone(torch.device("cpu")),
        resume=None,
        start=None,
    )
    save_checkpoint(place / "healthy", state)
    weights = {
        name: 1000 * value if name.startswith("network.head.fc.") else value
        for name, value in state.model.items()
    }
    save_checkpoint(place / "scaled", dataclasses.replace(state, model=weights))
    return place


def look(
    folder: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[MaskingResult, Figure]:
    """Returns the result on disk, which a second call only shows, and its picture."""
    monkeypatch.chdir(trained)
    assert main(["analyse", folder, "masking", *QUICK]) == 0
    (path,) = (trained / folder).glob("analyses/masking-*/result.json")
    result = MaskingResult.model_validate_json(path.read_bytes())
    return result, masking_figure(result)


def last_lines(printed: str) -> str:
    """Returns what is printed after the progress, without its line breaks."""
    return " ".join(printed.rpartition("images right\n")[2].split())


def test_a_healthy_network_has_no_sign(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result, figure = look("healthy", trained, monkeypatch)

    assert result.findings.signs == ()
    assert last_lines(capsys.readouterr().out).startswith("no sign of gradient masking attack eps")
    assert figure.get_supxlabel() == "no sign of gradient masking"
    assert figure.get_suptitle() == "e00012: linf, eps = 16/255, n=48; signs of masking: none"


def test_logits_that_are_too_far_apart_are_told_by_name_and_reason(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result, figure = look("scaled", trained, monkeypatch)

    names = [sign.name for sign in result.findings.signs]
    assert names == ["saturated logits", "unbroken at large eps"]
    printed = last_lines(capsys.readouterr().out)
    assert printed.startswith("saturated logits: the gradient of ce is zero at ")
    assert printed.find("unbroken at large eps: ") < printed.find("attack eps accuracy")
    for line in result.findings.verdict:
        assert line in " ".join(figure.get_supxlabel().split())


def test_the_scale_of_logits_changes_no_prediction_and_not_what_dlr_finds(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, scaled = (look(one, trained, monkeypatch)[0].findings for one in ("healthy", "scaled"))

    assert scaled.clean == healthy.clean
    assert scaled.highest_output == pytest.approx(1000 * healthy.highest_output, rel=1e-4)
    assert (healthy.ce_gradients.zero, scaled.dlr_gradients.zero) == (0, 0)
    assert scaled.attacks[3] == healthy.attacks[3]
    assert scaled.attacks[3].attack == "apgd_dlr10"


def test_the_picture_has_a_bar_for_each_attack_and_a_point_for_each_eps(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, figure = look("healthy", trained, monkeypatch)
    found = result.findings

    left, right = figure.axes
    (bars,) = (one for one in left.containers if isinstance(one, BarContainer))
    assert [bar.get_width() for bar in reversed(bars.patches)] == pytest.approx(
        [found.clean.value, *(one.value for one in found.attacks)]
    )
    assert [tick.get_text() for tick in reversed(left.get_yticklabels())] == [
        "clean",
        "pgd3",
        "pgd10",
        "apgd_ce10",
        "apgd_dlr10",
        "both APGD",
        "both, then square50",
        "both, then noise2",
    ]
    (curve,) = (one for one in right.containers if isinstance(one, ErrorbarContainer))
    assert curve.lines[0] is not None
    assert curve.lines[0].get_ydata() == pytest.approx(
        [found.clean.value, *(point.robust.value for point in found.sweep)]
    )
