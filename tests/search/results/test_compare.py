"""`rampart compare`: the paired difference of two results, and what cannot be compared."""

from pathlib import Path

import pytest
from records_factory import result
from scipy.stats import binomtest

from search.cli import main
from trainers.atomic import write_atomically


@pytest.fixture(autouse=True)
def _a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("COLUMNS", "220")


def write(
    path: Path, *, robust: int, first: int = 0, change: tuple[str, object] | None = None
) -> str:
    """Writes the result of 240 images, of which `robust` from `first` on are robust."""
    outcome = result(clean=150, robust=robust, first=first).model_copy(
        update=dict([change]) if change else {}
    )
    write_atomically(path / "result.json", outcome.model_dump_json())
    return str(path)


def test_a_comparison_states_the_paired_difference_and_its_test(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Robust are images 0..95 in A and 4..83 in B: 16 against 0.
    a, b = write(tmp_path / "a", robust=96), write(tmp_path / "b", robust=80, first=4)

    assert main(["compare", a, f"{b}/result.json"]) == 0

    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if line.startswith("robust")]
    assert "40.0 % [" in row
    assert "33.3 % [" in row
    assert "+6.7 points [" in row
    assert row.split()[-3:] == ["16", "0", f"{binomtest(0, 16).pvalue:.2g}"]
    (clean,) = [line for line in said.splitlines() if line.startswith("clean")]
    assert clean.split()[-3:] == ["0", "0", "1"]
    assert "linf, eps = 4/255, pyautoattack 0.2.0" in said


@pytest.mark.parametrize(
    ("field", "value"), [("data_hash", "0" * 12), ("attack", "autoattack-plus"), ("seed", 7)]
)
def test_results_that_differ_in_more_than_the_model_are_refused(
    field: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a", robust=96), write(tmp_path / "b", robust=80, change=(field, value))

    assert main(["compare", a, b]) == 2

    error = capsys.readouterr().err
    assert f"cannot be compared image by image: {field} differs" in error
    assert "evaluate both with the same settings" in error


def test_what_is_no_result_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", robust=96)
    (tmp_path / "bad.json").write_text("{}")

    assert main(["compare", a, str(tmp_path / "nowhere")]) == 2
    assert main(["compare", str(tmp_path / "bad.json"), a]) == 2

    error = capsys.readouterr().err
    assert "no result at " in error
    assert "bad.json is not the result of an evaluation; take the result.json that" in error
