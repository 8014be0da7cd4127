"""What `rampart data` refuses, and what it takes a path for."""

from pathlib import Path

import pytest
from jpeg_folder import make_folder, truncate

from search.cli import main
from trainers.data.open import detect_kind
from trainers.data.source import SourceKind


@pytest.fixture(autouse=True)
def _images_in_this_directory(  # pyright: ignore[reportUnusedFunction]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("images"), per_class=10)


def mistakes() -> None:
    """Puts into the working directory what the cases below name."""
    for name in ("packed", "images/empty"):
        Path(name).mkdir()
    Path("notes.txt").write_text("no images")
    Path("flat").mkdir()
    Path("flat/1.jpg").write_bytes(b"")
    Path("thesis").mkdir()
    Path("thesis/thesis.tex").write_text("")
    make_folder(Path("other"), per_class=2)
    make_folder(Path("broken"), per_class=1)
    truncate(Path("broken/bee/0000.jpg"))
    main(["data", "pack", "other", "of_other"])
    Path("damaged").mkdir()
    Path("damaged/index.bin").write_bytes(b"")


MISTAKES = [
    (["pack", "ghost", "new"], "ghost is not there; name the folder"),
    (["pack", "notes.txt", "new"], "notes.txt is none of these; name the folder"),
    (["pack", "flat", "new"], "a source must be a folder with CLASS/IMAGE.jpg files"),
    (["pack", "images", "new"], "1 of 3 folders in"),
    (["pack", "damaged", "new"], "has no meta.json"),
    (["pack", "other", "of_other", "quality=80"], "packed already, from quality 90, not 80"),
    (["pack", "broken", "of_other"], "packed already, from source"),
    (["pack", "other", "thesis"], "must be new, an empty folder or a packed"),
    (["pack", "other", "other"], "must lie outside the source"),
    (["pack", "other", "other/ant/new"], "must lie outside the source"),
    (["pack", "other", "notes.txt/new"], "put that right and run the same command again"),
    (["pack", "broken", "new", "max_bad=0.4"], "at most 0.4 of the 2 images may be unreadable"),
    (["pack", "other", "new", "max_side=0"], "max_side: Input should be greater than or equal to"),
    (["pack", "other", "new", "quality=101"], "quality: Input should be less than or equal to 100"),
    (["pack", "other", "new", "max_bad=1"], "max_bad: Input should be less than 1 (got 1)"),
    (["pack", "other", "new", "workers=many"], "workers: Input should be a valid integer"),
    (["pack", "other", "new", "max_sides=8"], "did you mean 'max_side'"),
    (["pack", "other", "new", "384"], "an override must read dotted.path=value"),
    (["check", "ghost"], "ghost is not there; name the folder"),
    (["check", "damaged"], "has no meta.json"),
    (["check", "other", "workers=0"], "workers: Input should be greater than or equal to 1"),
    (["check", "other", "quality=80"], "CheckSettings has no field 'quality'"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_exits_with_2_and_one_message(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes()
    capsys.readouterr()

    assert main(["data", *arguments]) == 2

    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("rampart: ") == 1
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not Path("new").exists()


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
