"""The command line, where no Ray is needed: help, mistakes, status, report."""

import argparse
import json
from pathlib import Path

import pytest
import torch
import yaml
from base_trial import TIMM
from checkpoint_factory import save_untrained
from records_factory import record, search_folder, search_records, trial_config
from repository import DEMO

from models.layouts import read_state
from search.books.records import write_record
from search.cli import main
from search.commands.arguments import build_parser
from trainers.checkpoint import load_model, save_checkpoint
from trainers.data.load import load_train
from trainers.group import alone
from trainers.loop import fit

COMMANDS = [
    "doctor",
    "plan",
    "search",
    "resume",
    "status",
    "promote",
    "train",
    "evaluate",
    "analyse",
    "compare",
    "export",
    "report",
    "dashboard",
    "recipe",
    "models",
    "cost",
    "data",
    "data pack",
    "data check",
]


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_one_screen_and_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])

    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert len(text.splitlines()) <= 24
    assert f"example: rampart {command}" in text


def test_no_flag_has_grown() -> None:
    """A new knob belongs in the experiment, where it is recorded, not on the command line.

    Of an evaluation, its config and the name of its folder record the protocol and the engine; the
    other flags say where to work, and change no result.
    """
    parser = build_parser()
    (action,) = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]  # pyright: ignore[reportPrivateUsage]
    flags = {
        f"{name} {option}"
        for name, sub in action.choices.items()
        for a in sub._actions  # pyright: ignore[reportPrivateUsage]
        for option in a.option_strings
        if option not in ("-h", "--help")
    }

    assert flags == {
        "doctor --address",
        "plan --no-timing",
        "search --address",
        "resume --address",
        "resume --add-budget",
        "resume --retry-failed",
        "resume --join",
        "promote --address",
        "promote --top",
        "promote --trial",
        "promote --rule",
        "promote --seeds",
        "dashboard --port",
        "evaluate --protocol",
        "evaluate --engine",
        "evaluate --shards",
        "evaluate --data",
        "evaluate --address",
        "train --address",
        "train --resume",
    }


def timm(name: str) -> str:
    return json.dumps({**TIMM, "name": name})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "nowhere.yaml"], "cannot read the experiment nowhere.yaml"),
        (["search", str(DEMO), "base.threat.eps=4"], "did you mean '4/255'"),
        (["search", str(DEMO), "base.optim.lrr=1"], "did you mean 'base.optim.lr'"),
        (
            ["search", str(DEMO), "budget.trials=many"],
            "budget.trials: Input should be a valid integer",
        ),
        (
            [
                "search",
                str(DEMO),
                f"base.model={timm('resnet81')}",
                "space={attack.steps: {int: [1, 2]}}",
                "warm_start=[]",
                "constraints={}",
            ],
            "resnet18",
        ),
        (["search", str(DEMO), "base.model.family=vgg"], "'xcit', 'timm'"),
        (["search", str(DEMO), "runs_dir=file/runs"], "file/runs' cannot be written: "),
        (["search", str(DEMO), "base"], "an override must read dotted.path=value"),
        (["resume", "ghost"], "no search 'ghost'"),
        (["promote", "ghost"], "no search 'ghost'"),
        (["status", "ghost"], "no search 'ghost'"),
        (["report", "ghost"], "no search 'ghost'"),
        (["evaluate", "ghost"], "no checkpoint at ghost"),
        (["recipe", "lihgt"], "did you mean 'light'"),
        (
            [
                "search",
                str(DEMO),
                f"base.model={timm('vgg11')}",
                "base.data.resolution=32",
                "space={attack.steps: {int: [1, 2]}}",
                "warm_start=[light]",
                "constraints={}",
            ],
            "warm_start: recipe 'light': vgg11 has no stochastic depth",
        ),
    ],
)
def test_a_mistake_exits_with_2_and_one_message_and_leaves_nothing(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")

    code = main(arguments)

    error = capsys.readouterr().err
    assert code == 2
    assert words in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["image=3"], "did you mean 'images'"),
        (["images=many"], "images: Input should be a valid integer"),
        (["images=999"], "999"),
    ],
)
def test_a_mistake_in_an_evaluation_exits_with_2(
    overrides: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_untrained(tmp_path / "model", seed=0)

    assert main(["evaluate", "model", *overrides]) == 2

    assert words in capsys.readouterr().err


def test_exported_weights_are_those_of_the_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = trial_config(data__train_images=96, epochs=1)
    states = fit(
        config,
        images=load_train(config),
        rungs=(),
        evaluate=None,
        group=alone(torch.device("cpu")),
        resume=None,
        start=None,
    )
    save_checkpoint(tmp_path / "model", next(states))
    _, model = load_model(tmp_path / "model")

    assert main(["export", "model", "out.safetensors", "rampart"]) == 0
    assert main(["export", "model", "out.safetensors", "timm"]) == 2
    assert main(["export", "nowhere", "out.pt", "revisiting"]) == 2

    said = capsys.readouterr()
    assert "out.safetensors: convnext, 32 px, 12 classes, model.normalize=half" in said.out
    assert "take layout=rampart" in said.err
    assert "no checkpoint at nowhere" in said.err
    state = read_state(tmp_path / "out.safetensors", weights="scored")
    for name, value in model.get_submodule("network").state_dict().items():
        assert torch.equal(state[name], value), name


def test_a_damaged_checkpoint_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK no")

    assert main(["evaluate", "best.pt"]) == 2

    assert "best.pt is damaged, or not a checkpoint of a trial" in capsys.readouterr().err


def test_an_unknown_option_is_refused_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["search", str(DEMO), "--adress", "x"])

    assert caught.value.code == 2
    assert "--adress" in capsys.readouterr().err


def test_a_name_that_exists_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / "demo").mkdir(parents=True)

    assert main(["search", str(DEMO)]) == 2

    assert "`rampart resume demo` goes on with it" in capsys.readouterr().err
    assert list((tmp_path / "runs" / "demo").iterdir()) == []


def test_status_reads_a_search_from_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = search_folder(tmp_path / "runs")
    for trial in search_records():
        write_record(folder.record(trial.key), trial)

    assert main(["status", "photos"]) == 0

    text = capsys.readouterr().out
    assert "12 of 12 trials begun" in text
    assert "`rampart resume photos` runs what is missing" in text


def test_report_writes_tables_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = search_folder(tmp_path / "runs")
    write_record(folder.record("t00000"), record(0))

    assert main(["report", "photos"]) == 0

    assert "report/index.html" in capsys.readouterr().out.replace("\n", "")
    assert folder.table("csv").exists()
    assert folder.table("parquet").exists()


def test_an_unknown_search_lists_those_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search_folder(tmp_path / "runs")

    assert main(["status", "photo"]) == 2

    assert "there are: photos" in capsys.readouterr().err


def test_the_resolved_config_of_a_search_is_complete(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "runs")

    tree = yaml.safe_load(folder.config.read_text())

    assert tree["base"]["threat"]["eps"] == 4 / 255
