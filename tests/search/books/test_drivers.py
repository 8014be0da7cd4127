"""Several processes on one search: who is alive, and whose turn it is. With real processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.books import drivers
from search.books.drivers import books, is_alive, registered
from search.errors import UserError
from search.folder import SearchFolder

DRIVER = """
import sys, time
from pathlib import Path
from search.books.drivers import registered
from search.folder import SearchFolder
with registered(SearchFolder(root=Path(sys.argv[1]))) as id_:
    print(id_, flush=True)
    time.sleep(60)
"""
KEEPER = DRIVER.replace("registered", "books").replace("id_", "_", 1).replace("id_", "'kept'")
TURNS = 30
PROCESSES = 3


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return SearchFolder(root=tmp_path)


@contextmanager
def process(code: str, folder: SearchFolder) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A process that has printed its first line, which comes with it."""
    command = [sys.executable, "-c", code, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        try:
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def count_up(root: Path) -> None:
    """Reads, waits and writes, as who changes the books does: unprotected, turns would be lost."""
    counter = root / "counter"
    for _ in range(TURNS):
        with books(SearchFolder(root=root)):
            count = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(count + 1))


def test_a_driver_is_alive_while_it_is_registered(folder: SearchFolder) -> None:
    with registered(folder) as first, registered(folder) as second:
        assert first != second
        assert is_alive(folder, first)
        assert is_alive(folder, second)

    assert not is_alive(folder, first)
    assert not is_alive(folder, second)
    assert not is_alive(folder, "")


def test_a_killed_driver_is_dead_at_once(folder: SearchFolder) -> None:
    with process(DRIVER, folder) as (driver, id_), registered(folder) as mine:
        assert is_alive(folder, id_)

        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()

        assert not is_alive(folder, id_)
        assert is_alive(folder, mine)


def test_a_stopped_driver_is_alive(folder: SearchFolder) -> None:
    with process(DRIVER, folder) as (driver, id_):
        os.kill(driver.pid, signal.SIGSTOP)

        assert is_alive(folder, id_)


def test_what_the_dead_left_is_cleared_by_the_next(folder: SearchFolder) -> None:
    with process(DRIVER, folder) as (driver, id_):
        driver.kill()
        driver.wait()
    assert (folder.root / "drivers" / id_).exists()

    with registered(folder) as mine:
        assert [path.name for path in (folder.root / "drivers").iterdir()] == [mine]


def test_no_change_of_the_books_is_lost(folder: SearchFolder) -> None:
    (folder.root / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=count_up, args=(folder.root,)) for _ in range(PROCESSES)]

    for one in started:
        one.start()
    for one in started:
        one.join()

    assert [one.exitcode for one in started] == [0] * PROCESSES
    assert (folder.root / "counter").read_text() == str(TURNS * PROCESSES)


def test_books_that_are_kept_too_long_are_an_error_and_a_kill_frees_them(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drivers, "BOOKS_TIMEOUT_S", 0.2)
    with process(KEEPER, folder) as (keeper, line):
        assert line == "kept"
        with (
            pytest.raises(UserError, match=rf"process {keeper.pid} on .* has kept the books for"),
            books(folder),
        ):
            pass

        keeper.kill()
        keeper.wait()

        with books(folder):
            pass


@pytest.mark.parametrize("enter", [registered, books])
def test_a_folder_that_cannot_be_written_is_the_users_to_mend(
    enter: Callable[[SearchFolder], Generator[object]], tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match="cannot be written: No such file"),
        enter(SearchFolder(root=tmp_path / "gone")),  # pyright: ignore[reportGeneralTypeIssues]
    ):
        pass
