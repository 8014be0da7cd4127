"""Splits: stratified, disjoint, fixed by the seed; and lists of official test images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import Listed, listed

from trainers.data.lists import find_listed, read_ids, robustbench_list
from trainers.data.splits import draw_test, hold_out, largest_remainder

SIZES = st.lists(st.integers(2, 40), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, share=st.floats(0.05, 0.45), seed=st.integers(0, 9))
def test_select_is_stratified_and_train_is_the_rest(
    sizes: list[int], share: float, seed: int
) -> None:
    source = listed(sizes)
    count = max(1, int(share * len(source)))

    split = hold_out(source, classes=range(len(sizes)), select_images=count, seed=seed)

    assert sorted([*split.train, *split.select]) == list(range(len(source)))
    assert len(split.select) == count
    held = np.bincount(source.labels[split.select], minlength=len(sizes))
    assert np.abs(held - count * np.array(sizes) / len(source)).max() < 1


def test_images_of_other_classes_are_in_no_split() -> None:
    source = listed([5, 6, 7])

    split = hold_out(source, classes=[0, 2], select_images=4, seed=0)

    assert sorted([*split.train, *split.select]) == [*range(5), *range(11, 18)]


def test_select_depends_on_the_seed_and_on_names_but_not_on_the_order_of_the_source() -> None:
    source = listed([20, 20])
    backwards = Listed(source.ids[::-1], source.labels[::-1].tolist(), source.classes)

    def select(of: Listed, seed: int) -> set[str]:
        split = hold_out(of, classes=[0, 1], select_images=10, seed=seed)
        return set(of.ids_at(split.select))

    assert select(source, 3) == select(backwards, 3)
    assert select(source, 3) != select(source, 4)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, data=st.data())
def test_largest_remainder_gives_each_its_quota_rounded_down_or_up(
    sizes: list[int], data: st.DataObject
) -> None:
    total = data.draw(st.integers(0, sum(sizes)))

    shares = largest_remainder(sizes, total)

    assert sum(shares) == total
    for share, size in zip(shares, sizes, strict=True):
        assert share in {total * size // sum(sizes), -(-total * size // sum(sizes))}


def test_largest_remainder_agrees_with_a_textbook_case() -> None:
    # Wikipedia, "Quota method", Hamilton / Hare: 100 000 votes, 10 seats.
    assert largest_remainder([47_000, 16_000, 15_800, 12_000, 6_100, 3_100], 10) == [
        5, 2, 1, 1, 1, 0,
    ]  # fmt: skip


def test_the_test_images_are_five_of_each_class_and_not_those_of_other_draws() -> None:
    source = listed([50, 50, 50])

    indices = draw_test(source, classes=[0, 2], seed=0)

    assert np.bincount(source.labels[indices], minlength=3).tolist() == [5, 0, 5]
    assert draw_test(source, classes=[0, 2], seed=0).tolist() == indices.tolist()
    assert draw_test(source, classes=[0, 2], seed=1).tolist() != indices.tolist()


def validation() -> Listed:
    """Three validation images as Hugging Face names them, without their folders."""
    ids = [f"ILSVRC2012_val_0000000{i}_n0000000{k}.JPEG" for i, k in [(1, 2), (2, 1), (3, 2)]]
    return Listed(ids, [1, 0, 1], ["n00000001", "n00000002"])


def test_listed_validation_images_are_found_by_their_number() -> None:
    ids = ["n00000002/ILSVRC2012_val_00000003.JPEG", "n00000001/ILSVRC2012_val_00000002.JPEG"]

    assert find_listed(validation(), ids, classes=[0, 1]).tolist() == [2, 1]
    assert find_listed(validation(), ids, classes=[1]).tolist() == [2]


def test_a_list_is_text_or_json(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a/1.jpg\n\n  b/2.jpg \r\n")
    (tmp_path / "ids.json").write_text('["a/1.jpg", "b/2.jpg"]')

    assert read_ids(tmp_path / "ids.txt") == read_ids(tmp_path / "ids.json")
    assert read_ids(tmp_path / "ids.txt") == ("a/1.jpg", "b/2.jpg")


@pytest.mark.parametrize("folder", ["helper_files", "data"])
def test_the_list_of_an_installed_robustbench_is_found_without_importing_it(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "robustbench"
    (package / folder).mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError")
    file = package / folder / "imagenet_test_image_ids.txt"
    file.write_text("n01440764/ILSVRC2012_val_00000293.JPEG\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert robustbench_list() == file


def test_without_robustbench_there_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])

    assert robustbench_list() is None


def write(path: Path, name: str, text: str) -> Path:
    return write_bytes(path, name, text.encode())


def write_bytes(path: Path, name: str, content: bytes) -> Path:
    (path / name).write_bytes(content)
    return path / name


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no list": (lambda path: read_ids(path / "x.txt"), "must be a file, and .*x.txt is not there"),
    "a folder for a list": (lambda path: read_ids(path), "must be a file, and .* is a folder"),
    "a list that is no text": (
        lambda path: read_ids(write_bytes(path, "x.txt", b"\xff\xd8")),
        "must be UTF-8 text, one id to a line.*x.txt is no text",
    ),
    "an empty list": (lambda path: read_ids(write(path, "x.txt", " \n")), "x.txt is empty"),
    "an id twice": (
        lambda path: read_ids(write(path, "x.txt", "a\nb\na\n")),
        "must differ, and .* has a 2 times",
    ),
    "half a json list": (lambda path: read_ids(write(path, "x.json", '["a')), "must be JSON, for"),
    "json without ids": (
        lambda path: read_ids(write(path, "x.json", json.dumps({"ids": [1]}))),
        "must be a JSON list of texts",
    ),
    "listed images that are not there": (
        lambda _: find_listed(validation(), ["n1/ILSVRC2012_val_00000009.JPEG"], classes=[0]),
        "lacks 1 of 1: n1/ILSVRC2012_val_00000009.JPEG; its ids look like ILSVRC2012_val_00000001",
    ),
    "listed images of other classes": (
        lambda _: find_listed(validation(), ["ILSVRC2012_val_00000001"], classes=[0]),
        "none of its 1 is of n00000001",
    ),
    "nothing to select": (
        lambda _: hold_out(listed([3, 3]), classes=[0], select_images=0, seed=0),
        "between 1 and 2, for listed has 3 images of these classes, got 0",
    ),
    "everything to select": (
        lambda _: hold_out(listed([3, 3]), classes=[0], select_images=3, seed=0),
        "between 1 and 2.*got 3",
    ),
    "a class without training images": (
        lambda _: hold_out(listed([1, 9]), classes=[0, 1], select_images=6, seed=0),
        "keep a training image, and select_images=6 takes all 1 of class c0; take fewer",
    ),
    "four validation images of a class": (
        lambda _: draw_test(listed([5, 4]), classes=[0, 1], seed=0),
        "must have 5 test images, and c1 of listed has 4; add some",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_split_is_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    attempt, message = BAD[name]

    with pytest.raises(ValueError, match=message):
        attempt(tmp_path)
