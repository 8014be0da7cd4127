"""Finds the images of a source that training could not read."""

from dataclasses import dataclass

from trainers.data.decode import BadImage, UnreadableImageError, read_whole
from trainers.data.source import Source
from trainers.data.spread import OnProgress, cut_ranges, spread

RANGE = 256
"""Images that a process takes at a time."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `check` found."""

    images: int
    """All that were looked at."""
    bad: tuple[BadImage, ...]
    """In the order of the source."""


def check(source: Source, *, workers: int, on_progress: OnProgress) -> Report:
    """Reads and decodes every image, and compares checksums where the source keeps them."""
    found: dict[int, list[BadImage]] = {}
    done = 0
    for part, bad in spread(_check_range, source, cut_ranges(len(source), RANGE), workers=workers):
        found[part.start] = bad
        done += len(part)
        on_progress(done, len(source))
    return Report(images=len(source), bad=tuple(bad for i in sorted(found) for bad in found[i]))


def _check_range(source: Source, part: range) -> list[BadImage]:
    bad: list[BadImage] = []
    for index in part:
        try:
            read_whole(source, index)
        except UnreadableImageError as error:
            bad.append(BadImage(id=source.ids[index], reason=str(error)))
    return bad
