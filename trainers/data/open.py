"""Opens any source by its kind; each kind's libraries are imported only for it."""

from pathlib import Path

from trainers.data.folder import open_folder
from trainers.data.packed import Packed
from trainers.data.source import Source, SourceKind


def open_source(kind: SourceKind, path: Path) -> Source:
    """Opens the images of one split.

    Args:
        path: The folder or file itself; for torchvision's sets, the folder that they are kept in.

    Raises:
        ValueError: If `path` does not hold what `kind` says; KIND-SPLIT sets are fetched first.
    """
    if kind == "folder":
        return open_folder(path)
    if kind == "packed":
        return Packed(path)
    if kind == "parquet":
        from trainers.data.parquet import Parquet

        return Parquet([path])
    from trainers.data.downloads import open_download

    return open_download(kind, path)
