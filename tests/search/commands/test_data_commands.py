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

import pytest
from jpeg_folder import make_folder, truncate
from repository import ROOT
from rich.console import Console

import trainers.data.check
from search.cli import main
from search.commands.data import ImageCount
from trainers.data.folder import open_folder
from trainers.data.packed import Packed


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
