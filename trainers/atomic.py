"""Files that are whole or absent, whenever the process is killed."""

import os
import re
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_DRAFT = re.compile(r"\..+\.[0-9a-f]{8}")


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Opens a draft that takes the place of `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: a killed session's worker may still be writing when the next one begins.
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Removes what killed processes left half written in `folder`; nobody else may write there."""
    for draft in folder.glob(".*"):
        if _DRAFT.fullmatch(draft.name):
            draft.unlink()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Replaces `path` with `data`; a reader sees the old content or the new, never a part."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)
