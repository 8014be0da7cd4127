"""`rampart doctor` on a Ray of its own, and where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import DEMO

pytestmark = pytest.mark.slow

ASK = """
import sys
from pathlib import Path
from rich.console import Console
from search.doctor.examine import doctor
from search.errors import NothingToShowError
from search.load import load_experiment
demo, runs, address = sys.argv[1:]
config = load_experiment(Path(demo), {"runs_dir": runs, "resources.cpus_per_worker": 1})
try:
    doctor(config, address=address or None, console=Console(width=400))
except NothingToShowError as error:
    sys.exit(str(error))
"""


def ask(runs: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Asks in a process of its own, as every test that starts Ray does."""
    command = [sys.executable, "-c", ASK, str(DEMO), str(runs), address]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=240)


def row(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(f"{name}  "))


def test_a_sound_machine_passes_and_nothing_is_left_behind(tmp_path: Path) -> None:
    runs = tmp_path / "new" / "runs"

    done = ask(runs, "")

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("versions", "data", "Ray", "nodes", "runs_dir", "storage", "resources"):
        assert row(done.stdout, name).removeprefix(name).split()[0] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_fails_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = ask(tmp_path / "file" / "runs", "")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "failed" in row(done.stdout, "runs_dir")
    assert f"{tmp_path / 'file'}: Not a directory" in row(done.stdout, "runs_dir")
    assert "1 of" in done.stderr


def test_an_address_where_nobody_listens_fails_with_its_cure(tmp_path: Path) -> None:
    done = ask(tmp_path, "127.0.0.1:1")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "cannot join the Ray cluster at 127.0.0.1:1" in row(done.stdout, "Ray")
    assert "-> Give --address" in done.stdout
