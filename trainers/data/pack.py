"""Packs a source: every image is verified, large ones are shrunk, all go into one file.

The work is cut into parts. Each part is a file of images and a file that describes it, written
in this order and atomically, in a hidden folder beside the destination; a part that is described
is whole. At the end the parts are joined, and the destination appears in one step. So a packing
that was killed goes on where it was, and a destination that is there is finished.
"""

import functools
import io
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from models.config import Config
from trainers.atomic import replacing, write_atomically
from trainers.data.decode import BadImage, UnreadableImageError, read_whole
from trainers.data.packed import (
    FORMAT,
    IMAGES,
    PackedIndex,
    PackedMeta,
    PackOptions,
    is_packed,
    read_meta,
    write_index,
    write_meta,
)
from trainers.data.source import Source, fingerprint, pack_ids
from trainers.data.spread import OnProgress, cut_ranges, spread

PART = 1024
"""Images in a part, about 100 MB of ImageNet."""
NAMED = 10
"""Unreadable images that an error names."""


class Plan(Config):
    """What a packing makes; parts of another plan are of no use to it."""

    format: int
    part: int
    source_fingerprint: str
    options: PackOptions


class Part(Config):
    """A file of packed images, described."""

    start: int
    kept: tuple[int, ...]
    """Their places in the source."""
    sizes: tuple[int, ...]
    checksums: tuple[int, ...]
    """CRC-32 of each."""
    checksum: int
    """CRC-32 of the file."""
    shrunk: int
    bad: tuple[BadImage, ...]


def pack(
    source: Source,
    dest: Path,
    *,
    max_side: int,
    quality: int,
    max_bad: float,
    workers: int,
    on_progress: OnProgress,
) -> PackedMeta:
    """Packs `source` into the folder `dest`, or goes on with it; a finished one is left alone.

    An image whose short side exceeds `max_side` is shrunk to it (bicubic, antialiased) and stored
    as JPEG; every other file is stored byte for byte. Parts and result exist side by side while
    they are joined, so the disk needs room for twice the result.

    Args:
        max_bad: Share of unreadable images that is left out and named in the result's meta.json.
        workers: Processes.

    Raises:
        ValueError: If more images are unreadable, or `dest` holds anything else.
    """
    if not 0 <= max_bad < 1:
        raise ValueError(f"max_bad is a share of the images in [0, 1), got {max_bad:g}")
    options = PackOptions(max_side=max_side, quality=quality)
    plan = Plan(format=FORMAT, part=PART, source_fingerprint=fingerprint(source), options=options)
    work = dest.with_name(f".{dest.name}.parts")
    if is_packed(dest):
        meta = _finished(dest, plan)
    else:
        _begin(dest, work, plan)
        parts = _make_parts(
            source, work, options, max_bad=max_bad, workers=workers, on_progress=on_progress
        )
        meta = _join(source, work, dest, plan, parts)
    shutil.rmtree(work, ignore_errors=True)
    _refuse_bad(meta.bad, len(source), max_bad, source.name)
    return meta


def pack_image(data: bytes, image: Image.Image, options: PackOptions) -> bytes:
    """Returns what is stored for a file and its pixels: itself, or a smaller JPEG."""
    short = min(image.size)
    if short <= options.max_side:
        return data
    # Multiplied first: the short side then becomes max_side exactly.
    width, height = (round(side * options.max_side / short) for side in image.size)
    buffer = io.BytesIO()
    small = image.resize((width, height), Image.Resampling.BICUBIC)
    small.save(buffer, "JPEG", quality=options.quality)
    return buffer.getvalue()


def pack_part(source: Source, span: range, *, work: Path, options: PackOptions) -> Part:
    """Packs the images of `span` into a part in the folder `work`."""
    kept: list[int] = []
    sizes: list[int] = []
    checksums: list[int] = []
    bad: list[BadImage] = []
    shrunk = checksum = 0
    with replacing(_images_of(work, span.start)) as file:
        for index in span:
            try:
                original, image = read_whole(source, index)
            except UnreadableImageError as error:
                bad.append(BadImage(id=source.ids[index], reason=str(error)))
                continue
            data = pack_image(original, image, options)
            file.write(data)
            kept.append(index)
            sizes.append(len(data))
            checksums.append(zlib.crc32(data))
            checksum = zlib.crc32(data, checksum)
            shrunk += data is not original
    part = Part(
        start=span.start,
        kept=tuple(kept),
        sizes=tuple(sizes),
        checksums=tuple(checksums),
        checksum=checksum,
        shrunk=shrunk,
        bad=tuple(bad),
    )
    write_atomically(_description_of(work, span.start), part.model_dump_json())
    return part


def _finished(dest: Path, plan: Plan) -> PackedMeta:
    try:
        meta = read_meta(dest)
    except ValueError as error:
        raise ValueError(
            f"{error}: remove {dest} to begin again, or choose another destination"
        ) from error
    there = plan.model_copy(
        update={"source_fingerprint": meta.source_fingerprint, "options": meta.options}
    )
    _refuse_difference(f"{dest} is packed already, from", there, plan, way_out=f"remove {dest}")
    return meta


def _begin(dest: Path, work: Path, plan: Plan) -> None:
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise ValueError(
            f"the destination must be new, an empty folder or a packed data set, and {dest} is "
            "none of these; choose another"
        )
    file = work / "plan.json"
    if file.is_file():
        there = _read_plan(file)
        _refuse_difference(f"{work} holds parts of", there, plan, way_out=f"remove {work}")
    else:
        write_atomically(file, plan.model_dump_json())


def _read_plan(file: Path) -> Plan:
    try:
        return Plan.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{file} must be the plan of a packing, and is damaged or of another version; remove "
            f"{file.parent} to begin again"
        ) from error


def _refuse_difference(what: str, there: Plan, here: Plan, *, way_out: str) -> None:
    a, b = (
        {"source": plan.source_fingerprint, "format": plan.format, "part": plan.part}
        | plan.options.model_dump()
        for plan in (there, here)
    )
    if differences := [f"{key} {a[key]}, not {b[key]}" for key in a if a[key] != b[key]]:
        raise ValueError(
            f"{what} {', '.join(differences)}; give the same source and options, choose another "
            f"destination, or {way_out} to begin again"
        )


def _make_parts(
    source: Source,
    work: Path,
    options: PackOptions,
    *,
    max_bad: float,
    workers: int,
    on_progress: OnProgress,
) -> list[Part]:
    spans = cut_ranges(len(source), PART)
    parts = {span.start: part for span in spans if (part := _whole_part(work, span))}
    done = sum(len(span) for span in spans if span.start in parts)
    on_progress(done, len(source))
    task = functools.partial(pack_part, work=work, options=options)
    todo = [span for span in spans if span.start not in parts]
    for span, part in spread(task, source, todo, workers=workers):
        parts[span.start] = part
        done += len(span)
        on_progress(done, len(source))
        bad = [bad for start in sorted(parts) for bad in parts[start].bad]
        _refuse_bad(bad, len(source), max_bad, source.name)
    return [parts[span.start] for span in spans]


def _whole_part(work: Path, span: range) -> Part | None:
    """Returns a part of an earlier run if it can be kept: undamaged, and of readable images only.

    Whoever packs again after an error may have repaired the images that caused it.
    """
    images, description = _images_of(work, span.start), _description_of(work, span.start)
    if not description.is_file() or not images.is_file():
        return None
    try:
        part = Part.model_validate_json(description.read_bytes())
    except ValidationError:
        return None
    checksum = 0
    with images.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    is_whole = images.stat().st_size == sum(part.sizes) and checksum == part.checksum
    return part if is_whole and not part.bad else None


def _refuse_bad(bad: Sequence[BadImage], images: int, max_bad: float, name: str) -> None:
    if len(bad) <= max_bad * images:
        return
    first = "\n".join(f"  {each.id}: {each.reason}" for each in bad[:NAMED])
    raise ValueError(
        f"at most {max_bad:g} of the {images} images may be unreadable, and {len(bad)} of {name} "
        f"are; repair or remove them, or allow more. The first:\n{first}"
    )


def _join(source: Source, work: Path, dest: Path, plan: Plan, parts: Sequence[Part]) -> PackedMeta:
    joined = work / "joined"
    shutil.rmtree(joined, ignore_errors=True)
    with replacing(joined / IMAGES) as file:
        for part in parts:
            with _images_of(work, part.start).open("rb") as images:
                shutil.copyfileobj(images, file, 1 << 20)
    kept = np.array([index for part in parts for index in part.kept], np.int64)
    offsets = np.zeros(len(kept) + 1, np.int64)
    np.cumsum([size for part in parts for size in part.sizes], out=offsets[1:])
    index = PackedIndex(
        offsets=offsets,
        labels=source.labels[kept],
        checksums=np.array([crc for part in parts for crc in part.checksums], np.uint32),
        ids=pack_ids(source.ids_at(kept)),
    )
    meta = PackedMeta(
        format=FORMAT,
        classes=source.classes,
        images=len(kept),
        image_bytes=int(offsets[-1]),
        id_bytes=len(index.ids.letters),
        index_sha256=write_index(joined, index),
        options=plan.options,
        source=source.name,
        source_fingerprint=plan.source_fingerprint,
        shrunk=sum(part.shrunk for part in parts),
        bad=tuple(bad for part in parts for bad in part.bad),
    )
    write_meta(joined, meta)
    joined.rename(dest)
    return meta


def _images_of(work: Path, start: int) -> Path:
    return work / f"part-{start:09d}.bin"


def _description_of(work: Path, start: int) -> Path:
    return work / f"part-{start:09d}.json"
