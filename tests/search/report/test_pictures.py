from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from records_factory import full_run, record, result, search_records, write_examples

from search.report.labels import spread
from search.report.pictures import (
    count_examples,
    curves_figure,
    examples_figure,
    importance_figure,
    save_picture,
    scatter_figure,
)
from search.results.importance import Importance
from trainers.data.config import PHOTO_CLASSES


def plotted(axes: Axes) -> int:
    bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    return sum(len(np.asarray(bar.lines[0].get_xdata())) for bar in bars if bar.lines[0])


def test_the_scatter_has_a_point_for_each_checked_trial_and_each_full_run() -> None:
    records = search_records()
    promoted = [
        (full_run("t00003"), result(clean=150, robust=96)),
        (full_run("default"), result(clean=140, robust=80)),
    ]

    figure = scatter_figure(records, promoted)

    assert plotted(figure.axes[0]) == sum(bool(r.checks) for r in records) + 2


def test_the_legend_keeps_attacks_apart_and_names_n() -> None:
    records = [record(0), record(1, attack="apgd_ce5"), record(2, status="stopped", epochs=3)]
    records.append(record(3, status="diagnosed", epochs=6))

    figure = scatter_figure(records, [(full_run("t00000"), result(clean=150, robust=96))])

    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [
        "completed: apgd_ce10+apgd_t3x10, n=120, select split",
        "completed: apgd_ce5, n=120, select split",
        "diagnosed: apgd_ce10+apgd_t3x10, n=120, select split",
        "stopped: apgd_ce10+apgd_t3x10, n=120, select split",
        "full run: autoattack-standard, n=240, test split",
    ]


def test_names_in_the_scatter_do_not_cover_one_another() -> None:
    crowd = [record(n, top=0.4, origin=f"recipe:canonical{n}") for n in range(5)]

    figure = scatter_figure(crowd, [])

    notes = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(note) for note in notes]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_names_at_ends_keep_their_distance_and_stay_around_their_points() -> None:
    places = spread([0.0, 1.0, 2.0, 50.0], pitch=10)

    assert places == pytest.approx([-9.0, 1.0, 11.0, 50.0])  # the three share the mean of theirs


def test_ticks_are_not_rounded_to_a_wrong_percentage() -> None:
    axes = scatter_figure([record(n) for n in range(5)], []).axes[0]

    axes.set_ylim(0.29, 0.49)
    axes.set_yticks([0.325, 0.35])

    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["32.5%", "35%"]


def test_every_begun_trial_has_a_curve_and_every_stopped_one_ends_with_an_x() -> None:
    records = [*search_records(), record(12, status="diagnosed", epochs=6)]

    figure = curves_figure(records, [3, 6, 12])

    lower = figure.axes[1]
    lengths = [len(np.asarray(line.get_xdata())) for line in lower.lines]
    epochs = [r.epochs for r in records if r.epochs]
    assert sorted(n for n in lengths if n > 2) == sorted(epochs)
    crosses = [line for line in lower.lines if line.get_marker() == "x" and len(line.get_xdata())]  # pyright: ignore[reportArgumentType]
    assert len(crosses) == sum(r.status in ("stopped", "diagnosed") for r in records)


def test_the_bars_are_the_shares_with_the_largest_on_top() -> None:
    shares = {"optim.lr": 0.7, "attack.name": 0.3}

    importance = Importance(method="PED-ANOVA", objective="robust", shares=shares, n=12, reason="")
    figure = importance_figure(importance)

    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]  # pyright: ignore[reportAttributeAccessIssue]
    assert axes.get_title().endswith("all trials: robust, n=12")


def test_the_difference_is_amplified_by_the_gain_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "examples.npz"
    write_examples(path, n=3)

    figure = examples_figure(
        path, run=full_run("t00003"), attack="autoattack-standard", classes=PHOTO_CLASSES
    )

    with np.load(path) as arrays:
        delta = arrays["adversarial"] - arrays["clean"] / 255
    assert count_examples(path) == 3
    assert figure.axes[6].get_ylabel() == "difference x 31"  # floor(0.5 / (4 / 255))
    shown = np.asarray(figure.axes[6].images[0].get_array()).transpose(2, 0, 1)
    np.testing.assert_allclose(shown, 0.5 + 31 * delta[0], atol=1e-5)
    assert [axes.get_title() for axes in figure.axes[3:6]] == ["x coins", "x grass", "camera"]


def test_a_missing_file_holds_no_examples(tmp_path: Path) -> None:
    assert count_examples(tmp_path / "examples.npz") == 0


def test_a_saved_picture_is_a_png_and_leaves_no_partial_file(tmp_path: Path) -> None:
    save_picture(Figure(), tmp_path / "report" / "empty.png")

    assert (tmp_path / "report" / "empty.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["empty.png"]
