"""Opens any source by its kind; each kind's libraries are imported only for it."""

from pathlib import Path

from trainers.data.folder import open_folder
from trainers.data.packed import IMAGES, INDEX, Packed
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


def detect_kind(path: Path) -> SourceKind:
    """Says what lies at `path`, from its names alone.

    Raises:
        ValueError: If it is no source.
    """
    if path.suffix == ".parquet" and path.is_file():
        return "parquet"
    if path.is_dir():
        # Not by meta.json: other programs leave one beside class folders.
        if any((path / name).is_file() for name in (INDEX, IMAGES)):
            return "packed"
        if any(path.glob("*.parquet")):
            return "parquet"
        if any(entry.is_dir() for entry in path.iterdir()):
            return "folder"
    came = "is none of these" if path.exists() else "is not there"
    raise ValueError(
        "a source must be a folder with CLASS/IMAGE.jpg files, a packed data set, or parquet "
        f"shards, and {path} {came}; name the folder that holds one split"
    )
