import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from search.errors import UserError
from search.lock import is_locked, locked

AGAIN = "rampart resume"
HOLDER = """
from pathlib import Path
from search.lock import locked
import sys, time
with locked(Path(sys.argv[1]), again="rampart resume"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_kill_frees_the_search(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        assert is_locked(tmp_path)
        with (
            pytest.raises(UserError, match=f"run by process {holder.pid}"),
            locked(tmp_path, again=AGAIN),
        ):
            pass

        holder.kill()

    assert not is_locked(tmp_path)
    with locked(tmp_path, again=AGAIN):
        pass


def test_looking_at_the_lock_writes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="cannot be written"),
        locked(tmp_path / "gone", again=AGAIN),
    ):
        pass


def test_one_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    """`is_locked` holds a shared lock for an instant; here for 50 ms."""
    with locked(tmp_path, again=AGAIN):
        pass
    looked = (tmp_path / "lock").open()
    fcntl.flock(looked, fcntl.LOCK_SH)
    leave = threading.Timer(0.05, looked.close)
    leave.start()

    with locked(tmp_path, again=AGAIN):
        leave.join()
        assert looked.closed
