"""What `rampart recipe` prints, and that it needs neither torch nor Ray for it."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import TRAIN

from search.cli import main
from search.load import load_training
from search.overrides import value_at
from search.recipes import RECIPES, overrides_for

SCRIPT = """
import sys
from search.cli import main
main(["recipe", "light"])
sys.exit(any(name in sys.modules for name in ("torch", "timm", "ray")))
"""


@pytest.fixture(autouse=True)
def _a_terminal_of_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("COLUMNS", "100")


def test_the_list_has_a_line_for_each_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_has_every_field_whole_within_100_columns(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", name]) == 0

    text = capsys.readouterr().out
    recipe = RECIPES[name]
    rows = {line.split(" ")[0] for line in text.splitlines()}
    assert rows >= set(recipe.applied) | {path for path in recipe.task if "." in path}
    assert text.count("\n- ") == len(recipe.deviations)
    assert max(map(len, text.splitlines())) <= 100


def test_a_page_says_value_and_source_beside_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recipe", "light"])

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["optim.weight_decay", "0.5", "config:", "weight_decay", "0.5"] in [r[:5] for r in rows]
    assert ["optim.decay_after_warmup", "false", "timm", "default:"] in [r[:4] for r in rows]


def test_a_page_needs_neither_torch_nor_ray() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)


def test_a_run_is_printed_with_the_values_of_a_recipe_and_then_the_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", "light_finetuning", str(TRAIN), "trial.augment.flip=0.25"]) == 0

    (tmp_path / "tuned.yaml").write_text(capsys.readouterr().out)
    config = load_training(tmp_path / "tuned.yaml", {})
    applied = overrides_for(RECIPES["light_finetuning"], config.trial.model)
    found = {path: value_at(config.trial, path) for path in applied}
    assert found == {**applied, "augment.flip": 0.25}
    assert config.trial.epochs == load_training(Path(str(TRAIN)), {}).trial.epochs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nano_tuning", str(TRAIN)], "no recipe 'nano_tuning'"),
        (["light", "gone.yaml"], "cannot read the run gone.yaml"),
        (["light", str(TRAIN), "trial.batch_size=4096"], "by recipe light with trial."),
    ],
)
def test_a_recipe_that_cannot_be_applied_says_why(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipe", *arguments]) == 2

    assert words in capsys.readouterr().err
