"""`rampart data pack` and `rampart data check`: what they print, and how they end."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import trainers.data.check
from search.cli import main
from search.data_commands import ImageCount
from trainers.data.folder import open_folder
from trainers.data.open import detect_kind
from trainers.data.packed import Packed
from trainers.data.source import SourceKind

ROOT = Path(__file__).parents[2]


def make_folder(root: Path, *, per_class: int) -> None:
    """Writes `per_class` JPEG files of noise, 12 pixels high, in each of two classes."""
    random = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = random.integers(0, 256, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:04d}.jpg")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-80])


@pytest.fixture(autouse=True)
def _images_in_this_directory(  # pyright: ignore[reportUnusedFunction]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_folder(Path("images"), per_class=10)


def test_packing_says_what_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pack", "images", "out/packed", "max_side=8"]) == 0

    packed = Packed(Path("out/packed"))
    size = sum(file.stat().st_size for file in Path("out/packed").iterdir())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"packed    {Path.cwd()}/out/packed",
        "images    20 in 2 classes, 20 of them shrunk",
        "left out  0 of 20",
    ]
    assert lines[3:5] == [
        f"size      {size / 1000:.1f} kB",
        f"hash      {packed.meta.index_sha256[:12]}",
    ]
    assert lines[5].startswith("time      ")
    assert " s for 20 images, " in lines[5]
    assert len(lines) == 6
    assert list(packed.ids) == list(open_folder(Path("images")).ids)


def test_a_second_packing_says_that_the_first_was_finished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["data", "pack", "images", "packed"])
    first = capsys.readouterr().out.splitlines()

    assert main(["data", "pack", "images", "packed"]) == 0

    second = capsys.readouterr().out.splitlines()
    assert second == [*first[:-1], "time      none, it was finished before"]


def test_packing_names_the_first_ten_images_that_it_leaves_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(12):
        Path(f"images/bee/x{i:02d}.jpg").write_bytes(b"<html>")

    assert main(["data", "pack", "images", "packed", "max_bad=0.5"]) == 0

    lines = capsys.readouterr().out.splitlines()
    place = lines.index("left out  12 of 32")
    assert [line.split(":")[0] for line in lines[place + 1 : place + 11]] == [
        f"  bee/x{i:02d}.jpg" for i in range(10)
    ]
    assert "no image that Pillow knows" in lines[place + 1]
    assert lines[place + 11] == "  and 2 more"


def test_a_link_to_an_empty_folder_is_followed() -> None:
    Path("big_disk").mkdir()
    Path("packed").symlink_to("big_disk")

    assert main(["data", "pack", "images", "packed"]) == 0

    assert Path("packed").is_symlink()
    assert len(Packed(Path("big_disk"))) == 20


def test_a_sound_source_passes_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "images"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"checked   folder {Path.cwd()}/images",
        "images    20 in 2 classes",
        "bad       0 of 20",
    ]


def test_the_check_names_a_truncated_image_and_exits_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    truncate(Path("images/ant/0003.jpg"))

    assert main(["data", "check", "images"]) == 1

    printed = capsys.readouterr()
    place = printed.out.splitlines().index("bad       1 of 20")
    named = printed.out.splitlines()[place + 1]
    assert named.startswith("  ant/0003.jpg: ")
    assert "truncated" in named
    assert "1 of 20 are not; repair or remove them" in printed.err
    assert "Traceback" not in printed.err


def test_the_check_finds_a_packed_image_that_another_disk_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["data", "pack", "images", "packed"])
    with Path("packed/images.bin").open("r+b") as file:
        file.write(b"damage")

    assert main(["data", "check", "packed"]) == 1

    assert "  ant/0000.jpg: checksum mismatch" in capsys.readouterr().out


def test_the_check_names_twenty_images_and_counts_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i in range(23):
        Path(f"images/bee/x{i:02d}.jpg").write_bytes(b"")

    assert main(["data", "check", "images"]) == 1

    lines = capsys.readouterr().out.splitlines()
    named = [line for line in lines if line.startswith("  bee/x")]
    assert "bad       23 of 43" in lines
    assert len(named) == 20
    assert lines[lines.index(named[-1]) + 1] == "  and 3 more"


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


def test_interrupted_it_exits_with_130_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second part holds a pipe that nobody writes to, so packing waits there."""
    make_folder(Path("many"), per_class=513)
    last = Path("many/bee/0512.jpg")
    whole = last.read_bytes()
    last.unlink()
    os.mkfifo(last)
    command = ["data", "pack", "many", "packed", "workers=1"]
    with subprocess.Popen(
        [sys.executable, "-m", "search", *command],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        wait_for(Path(".packed.parts/part-000000000.json"))
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == "rampart: interrupted; the same command goes on where it stopped\n"
    last.unlink()
    last.write_bytes(whole)

    assert main(command) == 0

    text = capsys.readouterr().out
    assert "going on: 1024 of 1026 images are packed already\n" in text
    assert " s for 2 images, " in text
    assert len(Packed(Path("packed"))) == 1026


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def test_a_killed_worker_ends_the_check_with_1_and_a_way_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No worker can end by itself: each is given a pipe that nobody writes to."""
    monkeypatch.setattr(trainers.data.check, "RANGE", 10)
    pipes = [Path(f"images/{name}/0000.jpg") for name in ("ant", "bee")]
    for pipe in pipes:
        pipe.unlink()
        os.mkfifo(pipe)
    killer = threading.Thread(target=kill_a_worker, args=(pipes,))
    killer.start()

    code = main(["data", "check", "images"])

    killer.join()
    assert code == 1
    assert "a worker process was killed" in capsys.readouterr().err


def kill_a_worker(pipes: list[Path]) -> None:
    # Opening ends when a worker reads at the other side.
    opened = [os.open(pipe, os.O_WRONLY) for pipe in pipes]
    multiprocessing.active_children()[0].kill()
    for descriptor in opened:
        os.close(descriptor)


def test_without_a_terminal_each_tenth_is_a_line() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)

    with ImageCount(console, "packed") as count:
        for done in (0, 50, 99, 100, 250, 299, 990, 1000):
            count.show(done, 1000)

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split()[1:6] for line in lines] == [
        ["packed", done, "of", "1000", "images,"] for done in ("100", "250", "990")
    ]


def test_on_a_terminal_a_bar_shows_how_many_are_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)

    with ImageCount(console, "packed") as count:
        count.show(250, 1000)
        count.show(500, 1000)

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert " going on: 250 of 1000 images are packed already\n" in text
    assert " 500/1000" in text
