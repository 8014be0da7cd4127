"""What a watcher of full runs sees."""

import io
from pathlib import Path

from manual_clock import Clock
from records_factory import full_run, progress, search_folder, write_promoted
from rich.console import Console

from search.promotion.full_view import FullRunView
from trainers.atomic import write_atomically


def console() -> Console:
    return Console(file=io.StringIO(), width=60)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_reference_attack_tells_the_time_left_at_the_pace_of_this_session(
    tmp_path: Path,
) -> None:
    out, clock, folder = console(), Clock(), search_folder(tmp_path)
    run = full_run("t00003").model_copy(update={"progress": None})
    root = write_promoted(folder, run, None)
    write_atomically(root / "progress.json", progress(30).model_dump_json())

    with FullRunView(folder.promoted, [run], out, clock=clock) as view:
        view.refresh()
        for done in (60, 120, 240):
            clock.now += 45
            write_atomically(root / "evaluated", f"{done} 240")
            view.refresh()
            clock.now += 5
            view.refresh()

    said = [line for line in written(out).splitlines() if "images" in line]
    assert [line.partition("attack, ")[2] for line in said] == [
        "60 of 240 images, left about 135 s",
        "120 of 240 images, left about 95 s",
        "240 of 240 images",
    ]


def test_a_resumed_attack_waits_for_a_batch_before_it_tells_the_time_left(tmp_path: Path) -> None:
    out, clock, folder = console(), Clock(), search_folder(tmp_path)
    run = full_run("t00003")
    root = write_promoted(folder, run, None)
    write_atomically(root / "evaluated", "120 240")

    with FullRunView(folder.promoted, [run], out, clock=clock) as view:
        view.refresh()
        clock.now += 30
        write_atomically(root / "evaluated", "180 240")

    assert written(out).splitlines()[-2:] == [
        "full run t00003: reference attack, 120 of 240 images",
        "full run t00003: reference attack, 180 of 240 images, left about 30 s",
    ]
