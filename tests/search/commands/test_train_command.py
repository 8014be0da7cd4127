"""`rampart train`: what is refused before anything starts; full runs can be trained alone."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from records_factory import check, experiment, full_run, progress
from repository import TRAIN

from search.cli import main
from search.commands.train import _news  # pyright: ignore[reportPrivateUsage]
from search.errors import UserError
from search.load import dump_config, load_training
from search.promotion.promote import training_of


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"trial.epochs": 0},
            r"trial\.epochs: .* greater than or equal to 1 \(got 0\)",
        ),
        (
            {"trial.batch_sizes": 8},
            r"'trial\.batch_sizes'; did you mean 'trial\.batch_size'",
        ),
        ({"validation.images": 241}, r"must not exceed trial\.data\.select_images \(240\)"),
        ({"resources.min_workers": 2}, r"min_workers \(2\) must not exceed workers \(1\)"),
        ({"resources.workers": 65}, "must give each of the 65 workers an image"),
        ({"checkpoints.keep": 0}, r"checkpoints\.keep: .* \(got 0\)"),
        ({"checkpoints.minutes": 0}, r"checkpoints\.minutes: .* \(got 0\)"),
        ({"log_to": ["comet"]}, r"log_to\.0: Input should be 'tensorboard', 'wandb' or 'mlflow'"),
        ({"trial.non_finite": "ignore"}, "'stop' or 'roll_back'"),
        ({"name": "a/b"}, "name: "),
    ],
)
def test_a_broken_rule_names_field_value_and_way_out(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_training(TRAIN, overrides)


def test_an_experiment_is_not_a_run() -> None:
    with pytest.raises(UserError, match=r"demo\.yaml is not a valid run:\n(.*\n)*.*trial: req"):
        load_training(TRAIN.with_name("demo.yaml"), {})


def test_a_config_comes_back_as_it_was_written(tmp_path: Path) -> None:
    config = load_training(TRAIN, {"log_to": ["tensorboard", "mlflow"]})

    (tmp_path / "run.yaml").write_text(dump_config(config))

    assert load_training(tmp_path / "run.yaml", {}) == config


def test_a_full_run_of_a_search_can_be_trained_alone(tmp_path: Path) -> None:
    run = full_run("t00003")

    config = training_of(experiment(tmp_path), run)

    assert config.trial == run.config
    assert config.name.endswith("-t00003")
    assert yaml.safe_load(dump_config(config))["trial"]["epochs"] == run.config.epochs


def begun(folder: Path, **changes: Any) -> Path:
    """Writes the config of a run under `folder/runs`, as if it had begun."""
    root = folder / "runs" / "train"
    root.mkdir(parents=True)
    (root / "run.yaml").write_text(dump_config(load_training(TRAIN, changes)))
    return root


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "exists already; --resume goes on with it, and name=ANOTHER begins anew"),
        (["name=other", "--resume"], "no run at "),
        (
            ["--resume", "trial.optim.lr=0.5", "validation.ce_steps=7"],
            "is another run: optim.lr is 0.001 there, 0.5 here; ce_steps is 5 there, 7 here; take ",
        ),
        (["name=new", "trial.model.depths=[1]"], "must name the same number of stages"),
        (["name=new", "trial.weights.init=/gone.pt"], "trial: weights must be a file, found none"),
        (["name=new", "log_to=[wandb]"], "log_to names wandb, which is not installed: pip"),
    ],
)
def test_a_mistake_exits_with_2_before_anything_starts(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    begun(tmp_path)

    assert main(["train", str(TRAIN), *arguments]) == 2

    assert words in capsys.readouterr().err.replace("\n  ", " ")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["train"]


def test_a_diagnosis_is_told_with_its_epoch_and_again_only_after_an_epoch_without_it() -> None:
    config = load_training(TRAIN, {"trial.epochs": 6})
    fine, low = check(80, 60), check(80, 10)
    history = tuple(
        metrics.model_copy(update={"check": checked})
        for metrics, checked in zip(
            progress(6).history, [fine, fine, low, low, fine, low], strict=True
        )
    )
    run = progress(0).model_copy(update={"history": history})
    begun = run.model_copy(update={"history": history[:1]})

    lines = list(_news(config, begun, run))

    told = [line.split(" ")[0] + line.split(" ")[1] for line in lines]
    assert told == [
        *("epoch2/6", "epoch3/6", "diagnosis:catastrophic"),
        *("epoch4/6", "diagnosis:robust", "epoch5/6", "epoch6/6", "diagnosis:catastrophic"),
    ]
    assert list(_news(config, run, run)) == []
