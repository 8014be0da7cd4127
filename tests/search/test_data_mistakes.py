"""`rampart data` without all its arguments, and what it takes a path for."""

from pathlib import Path

import pytest

from search.cli import main
from trainers.data.open import detect_kind
from trainers.data.source import SourceKind


@pytest.fixture(autouse=True)
def _in_an_empty_folder(  # pyright: ignore[reportUnusedFunction]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [[], ["unpack"], ["pack"], ["pack", "images"], ["pack", "images", "new", "--max-side", "384"]],
)
def test_an_incomplete_command_is_refused_with_its_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", *arguments])

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rampart ")


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


@pytest.mark.parametrize(
    ("names", "path", "kind"),
    [
        (["p/images.bin", "p/index.bin", "p/meta.json"], "p", "packed"),
        (["p/images.bin", "p/index.bin"], "p", "packed"),
        (["p/0.parquet", "p/readme/x.md"], "p", "parquet"),
        (["p/0.parquet"], "p/0.parquet", "parquet"),
        (["p/ant/1.jpg", "p/readme.md"], "p", "folder"),
        (["p/ant/1.jpg", "p/meta.json"], "p", "folder"),
    ],
)
def test_the_kind_of_a_source_shows_in_its_names(
    names: list[str], path: str, kind: SourceKind
) -> None:
    touch(*names)

    assert detect_kind(Path(path)) == kind


@pytest.mark.parametrize(
    ("path", "words"),
    [("ghost", "ghost is not there"), ("p/a.txt", "is none of these"), ("p", "is none of these")],
)
def test_what_is_no_source_has_no_kind(path: str, words: str) -> None:
    touch("p/a.txt")

    with pytest.raises(ValueError, match=f"must be a folder with CLASS/IMAGE.jpg.*{words}; name"):
        detect_kind(Path(path))
