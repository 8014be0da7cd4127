"""What `rampart data pack` and `rampart data check` do; `search/cli.py` only reads arguments.

The libraries of images are imported where a command needs them, as in `searches.py`.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import Field
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.config import Config
from search.errors import NothingToShowError, UserError
from search.overrides import override_or_refuse

if TYPE_CHECKING:
    from trainers.data.decode import BadImage
    from trainers.data.packed import PackedMeta
    from trainers.data.source import Source

MOST_LEFT_OUT = 10
"""Images that `pack` names."""
MOST_BAD = 20
"""Images that `check` names."""


class PackSettings(Config):
    """How `rampart data pack` packs."""

    max_side: int = Field(ge=1)
    """Greatest short side, in pixels; larger images are shrunk to it."""
    quality: int = Field(ge=1, le=100)
    """JPEG quality of the images that are shrunk."""
    max_bad: float = Field(ge=0, lt=1)
    """Share of unreadable images that is left out and named; more is an error."""
    workers: int = Field(ge=1)
    """Processes."""


class CheckSettings(Config):
    """How `rampart data check` checks."""

    workers: int = Field(ge=1)
    """Processes."""


PACK = PackSettings(max_side=384, quality=90, max_bad=0.001, workers=2)
"""What is packed where nothing is overridden; the help shows it."""
CHECK = CheckSettings(workers=2)


class ImageCount:
    """Shows how many images are done: a bar on a terminal, a line for each tenth elsewhere."""

    def __init__(self, console: Console, done_text: str) -> None:
        """Shows nothing before the first call of `show`.

        Args:
            done_text: What was done to the images, such as "packed".
        """
        self._console = console
        self._done_text = done_text
        self._bar = _bar(console) if console.is_terminal else None
        self._began = time.monotonic()
        self._before: int | None = None
        self._done = 0

    def __enter__(self) -> "ImageCount":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, done: int, images: int) -> None:
        """Shows that `done` of `images` are done; the first call says how many were before."""
        if self._before is None:
            self._begin(done, images)
        elif self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, rate=self._rate(done))
        elif 10 * self._done // images < 10 * done // images < 10:
            self._print(f"{self._done_text} {done} of {images} images, {self._rate(done)}")
        self._done = done

    def summary(self) -> str:
        """Returns how long it took, and for how many images."""
        seconds = time.monotonic() - self._began
        new = self._done - (self._before or 0)
        return f"{seconds:.1f} s for {new} images, {self._rate(self._done)}"

    def _begin(self, done: int, images: int) -> None:
        self._before = done
        if done:
            self._print(f"going on: {done} of {images} images are {self._done_text} already")
        if self._bar:
            self._bar.add_task(self._done_text, total=images, completed=done, rate="")

    def _rate(self, done: int) -> str:
        new = done - (self._before or 0)
        return f"{new / max(time.monotonic() - self._began, 1e-9):.0f} images/s"

    def _print(self, text: str) -> None:
        clock = time.strftime("%H:%M:%S")
        self._console.print(f"{clock} {text}", markup=False, soft_wrap=True)


def pack_source(
    source: Path, dest: Path, overrides: Mapping[str, Any], *, console: Console
) -> None:
    """Packs `source` into `dest`, or goes on with it, and prints what was left out.

    Raises:
        UserError: If a setting, a path or too many images are bad.
        NothingToShowError: If a worker process is killed.
    """
    from trainers.data.pack import pack
    from trainers.data.packed import is_packed

    settings = override_or_refuse(PACK, overrides, what="the packing")
    # A link would be replaced by the result instead of being followed.
    dest = dest.resolve()
    _refuse_inside(source, dest)
    with _explained():
        opened = _open(source)
        was_finished = is_packed(dest)
        with ImageCount(console, "packed") as count:
            meta = pack(
                opened,
                dest,
                max_side=settings.max_side,
                quality=settings.quality,
                max_bad=settings.max_bad,
                workers=settings.workers,
                on_progress=count.show,
            )
    end = "none, it was finished before" if was_finished else count.summary()
    lines = [*_pack_lines(dest, meta, images=len(opened)), f"time      {end}"]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def check_source(source: Path, overrides: Mapping[str, Any], *, console: Console) -> None:
    """Reads and decodes every image of `source` and names those that training could not read.

    Raises:
        UserError: If a setting or `source` is bad.
        NothingToShowError: If there are such images, or a worker process is killed.
    """
    from trainers.data.check import check

    settings = override_or_refuse(CHECK, overrides, what="the check")
    with _explained():
        opened = _open(source)
        with ImageCount(console, "checked") as count:
            count.show(0, len(opened))
            report = check(opened, workers=settings.workers, on_progress=count.show)
    lines = [
        f"checked   {opened.name}",
        f"images    {report.images} in {len(opened.classes)} classes",
        f"bad       {len(report.bad)} of {report.images}",
        *_bad_lines(report.bad, most=MOST_BAD),
        f"time      {count.summary()}",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    if report.bad:
        raise NothingToShowError(
            f"every image must be readable, and {len(report.bad)} of {report.images} are not; "
            "repair or remove them, or leave them out with `rampart data pack`"
        )


@contextmanager
def _explained() -> Generator[None]:
    """Turns what reading and writing data may raise into the errors of the command line."""
    try:
        yield
    except BrokenProcessPool as error:
        raise NothingToShowError(
            "a worker process was killed, perhaps for want of memory; run the same command again, "
            "with fewer workers=N"
        ) from error
    except OSError as error:
        raise UserError(f"{error}; put that right and run the same command again") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def _open(path: Path) -> "Source":
    from trainers.data.open import detect_kind, open_source

    return open_source(detect_kind(path), path)


def _refuse_inside(source: Path, dest: Path) -> None:
    root = source.resolve()
    if dest.is_relative_to(root):
        raise UserError(
            f"the destination must lie outside the source {root}, and {dest} does not; choose "
            "another"
        )


def _pack_lines(dest: Path, meta: "PackedMeta", *, images: int) -> list[str]:
    size = sum(file.stat().st_size for file in dest.iterdir())
    return [
        f"packed    {dest}",
        f"images    {meta.images} in {len(meta.classes)} classes, {meta.shrunk} of them shrunk",
        f"left out  {len(meta.bad)} of {images}",
        *_bad_lines(meta.bad, most=MOST_LEFT_OUT),
        f"size      {decimal(size)}",
        # The index holds a checksum of each image, so its own names everything.
        f"hash      {meta.index_sha256[:12]}",
    ]


def _bad_lines(bad: "Sequence[BadImage]", *, most: int) -> list[str]:
    lines = [f"  {each.id}: {each.reason}" for each in bad[:most]]
    return [*lines, f"  and {len(bad) - most} more"] if len(bad) > most else lines


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
