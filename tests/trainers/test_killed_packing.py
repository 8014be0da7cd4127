"""A packing that was killed goes on, and its files are those of one that was not."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from image_files import contents, make_folder, pack_quietly

import trainers.data.pack
from trainers.data.source import Source


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a disk takes seconds for hundreds of syncs."""
    place = Path("/dev/shm")
    with TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as folder:
        yield Path(folder)


def kill_at(event_number: int, below: Path) -> None:
    """Kills this process with -9 at its n-th opening, renaming or making of a file `below`."""
    left = [event_number]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        touches = event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if touches and str(args[0]).startswith(str(below)):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def pack_until_killed(source: Source, dest: Path, *, event_number: int) -> bool:
    """Packs in a process that dies at an event; returns whether it did."""
    child = os.fork()
    if child == 0:
        kill_at(event_number, dest.parent)
        pack_quietly(source, dest, max_side=6, max_bad=0.3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_at_any_operation_and_resumed_the_files_are_those_of_an_undisturbed_packing(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(memory / "folder", classes=["ant", "bee"], per_class=2, side=8)
    monkeypatch.setattr(trainers.data.pack, "PART", 2)
    (memory / "folder" / folder.ids[3]).write_bytes(b"broken")
    pack_quietly(folder, memory / "undisturbed", max_side=6, max_bad=0.3)
    expected = contents(memory / "undisturbed")
    place, kills = memory / "resumed", 0

    while True:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if not pack_until_killed(folder, place / "packed", event_number=kills + 1):
            break
        kills += 1
        assert not (place / "packed").exists() or contents(place / "packed") == expected
        pack_quietly(folder, place / "packed", max_side=6, max_bad=0.3)

        assert contents(place / "packed") == expected
        assert [file.name for file in place.iterdir()] == ["packed"]

    assert kills > 25
    assert contents(place / "packed") == expected


PACK = """
import sys
from pathlib import Path
import trainers.data.pack
from trainers.data.folder import open_folder

if __name__ == "__main__":
    trainers.data.pack.PART = 5
    trainers.data.pack.pack(
        open_folder(Path(sys.argv[1])), Path(sys.argv[2]), max_side=6, quality=90, max_bad=0.0,
        workers=2, on_progress=lambda done, images: print(done, flush=True),
    )
"""


def test_a_killed_packing_takes_its_processes_with_it_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "folder", classes=["ant", "bee"], per_class=10, side=8)
    monkeypatch.setattr(trainers.data.pack, "PART", 5)
    (tmp_path / "run.py").write_text(PACK)
    dest = tmp_path / "packed"
    with subprocess.Popen(
        [sys.executable, tmp_path / "run.py", folder.root, dest],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        assert process.stdout.readline() == b"5\n"
        process.kill()
        # The output ends when its last holder does, and the workers have inherited it.
        process.communicate(timeout=20)

    pack_quietly(folder, dest, max_side=6)
    pack_quietly(folder, tmp_path / "undisturbed", max_side=6)

    assert contents(dest) == contents(tmp_path / "undisturbed")
