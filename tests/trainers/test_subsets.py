"""Subsets are nested and stable, and a manifest names exactly its images."""

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Listed, listed
from pydantic import ValidationError
from timm.data.imagenet_info import ImageNetInfo

from trainers.data.manifest import (
    BIG,
    Manifest,
    find_ids,
    index_of,
    make_manifest,
    read_manifest,
    write_manifest,
)
from trainers.data.source import Source
from trainers.data.subsets import (
    IMAGENET_100,
    draw_classes,
    draw_images,
    imagenet_100,
    named_classes,
    rank,
)

WORDNET_IDS = ImageNetInfo().label_names()
SIZES = st.lists(st.integers(4, 9), min_size=2, max_size=5)


def draw(source: Source, classes: Sequence[int], per_class: int, seed: int) -> set[str]:
    pool = np.arange(len(source))
    indices = draw_images(
        source, pool, classes=classes, per_class=per_class, seed=seed, purpose="train"
    )
    return set(source.ids_at(indices))


def test_imagenet_100_is_the_reproduced_draw() -> None:
    source = Listed(["x"], [0], WORDNET_IDS)

    names = [source.classes[label] for label in imagenet_100(source)]

    # seeds.md 2.4: SHA-256 of the sorted WordNet ids, one per line.
    assert hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] == "e719eb562ea7d833"
    assert len(names) == 100


def test_imagenet_100_trusts_the_order_of_classes_without_wordnet_ids() -> None:
    assert imagenet_100(Listed(["x"], [0], [str(i) for i in range(1000)])) == IMAGENET_100


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 99), data=st.data())
def test_more_images_and_more_classes_contain_the_fewer(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    source = listed(sizes)
    counts = data.draw(st.tuples(st.integers(1, len(sizes)), st.integers(1, len(sizes))))
    per_class = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))

    few = draw_classes(source, min(counts), seed=seed)
    many = draw_classes(source, max(counts), seed=seed)
    small = draw(source, few, min(per_class), seed)
    large = draw(source, many, max(per_class), seed)

    assert set(few) <= set(many)
    assert small <= large
    assert len(small) == min(counts) * min(per_class)
    assert len(large) == max(counts) * max(per_class)


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 99), data=st.data())
def test_the_order_of_the_source_does_not_matter_and_a_lost_image_only_lets_the_next_in(
    sizes: list[int], seed: int, data: st.DataObject
) -> None:
    source = listed(sizes)
    order = data.draw(st.permutations(range(len(source))))
    shuffled = Listed(source.ids_at(np.array(order)), source.labels[order].tolist(), source.classes)
    classes = range(len(sizes))
    full = draw(source, classes, 3, seed)
    lost = data.draw(st.sampled_from(sorted(full)))
    rest = [i for i, text in enumerate(source.ids) if text != lost]
    without = Listed([source.ids[i] for i in rest], source.labels[rest].tolist(), source.classes)

    assert draw(shuffled, classes, 3, seed) == full
    assert full - draw(without, classes, 3, seed) == {lost}


def test_seeds_and_purposes_draw_independently() -> None:
    names = [str(i) for i in range(4000)]
    ranks = [
        rank(names, seed=seed, purpose=purpose).astype(np.float64)
        for seed, purpose in [(0, "train"), (1, "train"), (0, "select")]
    ]

    # Under independence a correlation has a standard deviation of 1 / sqrt(4000) = 0.016.
    assert np.abs(np.corrcoef(ranks) - np.eye(3)).max() < 0.08
    assert abs(ranks[0].mean() / 2**64 - 0.5) < 0.03


def test_all_images_of_some_classes_are_drawn_in_the_order_of_the_source() -> None:
    source = listed([2, 3, 2])
    pool = np.array([0, 2, 4, 5, 6])

    indices = draw_images(source, pool, classes=[2, 1], per_class="all", seed=0, purpose="train")

    assert indices.tolist() == [2, 4, 5, 6]


def test_classes_are_found_by_name_in_the_order_of_the_source() -> None:
    assert named_classes(listed([1, 1, 1]), ["c2", "c0", "c2"]) == (0, 2)


def test_a_manifest_relabels_its_classes_and_leads_back_to_its_images() -> None:
    source = listed([2, 3, 2])

    manifest = make_manifest(source, np.array([6, 2, 3]), classes=[1, 2])

    assert manifest.classes == ("c1", "c2")
    assert manifest.ids == ("c2/1", "c1/0", "c1/1")
    assert manifest.labels == (1, 0, 0)
    assert index_of(source, manifest).tolist() == [6, 2, 3]


def test_a_manifest_finds_its_images_wherever_they_moved() -> None:
    manifest = make_manifest(listed([2, 3]), np.array([1, 4]), classes=[0, 1])
    moved = Listed(["c1/2", "c0/5", "c0/1"], [0, 1, 1], ["c1", "c0"])

    assert index_of(moved, manifest).tolist() == [2, 0]


def test_the_hash_is_of_the_content_and_not_of_the_place() -> None:
    manifest = make_manifest(listed([2, 3]), np.array([1, 4]), classes=[0, 1])
    changes: list[dict[str, object]] = [
        {"classes": ("c0", "c2")},
        {"ids": ("c0/0", "c1/2")},
        {"labels": (0, 0)},
        {"ids": ("c1/2", "c0/1"), "labels": (1, 0)},
    ]
    hashes = {Manifest.model_validate(manifest.model_dump() | change).hash for change in changes}

    assert Manifest.model_validate(manifest.model_dump() | {"source": "x"}).hash == manifest.hash
    assert len({manifest.hash, *hashes}) == 5
    assert len(manifest.hash) == 12


@pytest.mark.parametrize("images", [3, BIG])
def test_a_manifest_is_read_as_it_was_written(images: int, tmp_path: Path) -> None:
    manifest = make_manifest(listed([images]), np.arange(images), classes=[0])

    path = write_manifest(tmp_path / "train.json", manifest)
    first = path.read_bytes()
    write_manifest(tmp_path / "train.json", manifest)

    assert path.name == ("train.json.gz" if images == BIG else "train.json")
    assert read_manifest(path) == manifest
    assert path.read_bytes() == first


GOOD = make_manifest(listed([2, 3]), np.array([1, 4]), classes=[0, 1])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: path.unlink(), "must be a manifest.*FileNotFound"),
    "no json": (lambda path: path.write_text("{"), "must be a manifest.*JSONDecodeError"),
    "no hash": (lambda path: path.write_text("{}"), "must be a manifest.*KeyError"),
    "a list": (lambda path: path.write_text("[]"), "must be a manifest"),
    "edited": (lambda path: edit(path, ids=["c0/0", "c1/2"]), "it was edited; make a new one"),
    "other fields": (lambda path: edit(path, idz=[]), "Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_manifest_file_is_refused(name: str, tmp_path: Path) -> None:
    damage, message = BAD_FILES[name]
    path = write_manifest(tmp_path / "train.json", GOOD)
    damage(path)

    with pytest.raises(ValueError, match=message):
        read_manifest(path)


def test_a_truncated_compressed_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.json.gz"
    path.write_bytes(gzip.compress(b"{}" * 100)[:-9])

    with pytest.raises(ValueError, match="must be a manifest"):
        read_manifest(path)


BAD_MANIFESTS: dict[str, tuple[dict[str, object], str]] = {
    "no images": ({"ids": (), "labels": ()}, "needs images, each with one label, got 0 ids"),
    "a label too few": ({"labels": (0,)}, "got 2 ids and 1 labels"),
    "an id twice": ({"ids": ("a", "a")}, "ids of a manifest must differ, got 1 twice"),
    "a label too high": ({"labels": (0, 2)}, "labels must lie between 0 and 1, got 0 to 2"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_an_inconsistent_manifest_is_refused(name: str) -> None:
    change, message = BAD_MANIFESTS[name]

    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(GOOD.model_dump() | change)


SOURCE = listed([2, 3])
POOL = np.arange(5)
OTHER_WORDNET_ID = ["n00000001", *WORDNET_IDS[:2], *WORDNET_IDS[3:]]

BAD_CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "missing images": (
        lambda: find_ids(SOURCE, ["c0/0", "c9/0", "c9/1"], key=str),
        "listed must have every listed image, and lacks 2 of 3: c9/0, c9/1; its ids look like c0/0",
    ),
    "images of another class": (
        lambda: index_of(Listed(["c0/1", "c1/2"], [0, 0], ["c0", "c1"]), GOOD),
        "1 have not: c1/2 is 'c1' in the manifest and 'c0' there; take the source",
    ),
    "a class left out": (
        lambda: make_manifest(SOURCE, POOL, classes=[0]),
        "must be of its classes, and 3 are not: c1/0 is of c1; keep that class",
    ),
    "too many images": (
        lambda: draw(SOURCE, [0, 1], 3, 0),
        "between 1 and 2, which class c0 of listed has to choose from, got 3; take fewer, or 'all'",
    ),
    "no images": (lambda: draw(SOURCE, [0], 0, 0), "between 1 and 2.*got 0"),
    "too many classes": (
        lambda: draw_classes(SOURCE, 3, seed=0),
        "between 1 and 2, the classes of listed, got 3",
    ),
    "an unknown class": (
        lambda: named_classes(SOURCE, ["c1", "dog"]),
        "some of those of listed, got dog; it has c0, c1",
    ),
    "no class": (lambda: named_classes(SOURCE, []), "some of those of listed, got none"),
    "ten classes for imagenet": (lambda: imagenet_100(SOURCE), "1000 classes, and listed has 2"),
    "others than imagenet's": (
        lambda: imagenet_100(Listed(["x"], [0], OTHER_WORDNET_ID)),
        "in order of WordNet id, and those of listed are others, beginning with n00000001",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_what_cannot_be_drawn_is_refused_with_the_way_out(name: str) -> None:
    attempt, message = BAD_CALLS[name]

    with pytest.raises(ValueError, match=message):
        attempt()
