"""The pictures of analyses that show images: rows of them, with what is said of each above."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.analyses.analyse import Arrays
from evaluation.analyses.features import FeaturesResult
from evaluation.analyses.gradients import GradientsResult
from evaluation.analyses.semantics import SemanticsResult
from search.promotion.card import accuracy_text, threat_text
from search.report.pictures import VERMILION

MOST_COLUMNS = 6
MOST_FEATURES = 24

Image = npt.NDArray[Any]
"""(3, h, w), channels first, on [0, 1]."""


def semantics_figure(result: SemanticsResult, arrays: Arrays, *, classes: Sequence[str]) -> Figure:
    """Images and their perturbations as the judges saw them, with the judges' scores above."""
    columns = len(arrays["labels"])
    scores = [
        f"{score.judge}: {accuracy_text(score.perturbation)} (of the images "
        f"{100 * score.clean.value:.1f} %)"
        for score in result.findings.judges
    ]
    figure, grid = _grid(2, columns, extra=0.3 + 0.24 * len(scores))
    for row, kind in zip(grid, ("clean", "rendered"), strict=True):
        for axes, image in zip(row, arrays[kind], strict=True):
            _show(axes, image)
    for axes, label in zip(grid[0], arrays["labels"], strict=True):
        _write(axes, classes[int(label)])
    _name_rows(grid, ("clean", "perturbation"))
    figure.suptitle(
        "\n".join(
            [
                f"{result.models[0].name}: perturbations, {threat_text(result.config.threat)}",
                *scores,
            ]
        ),
        fontsize=10,
    )
    return figure


def gradients_figure(result: GradientsResult, arrays: Arrays, *, classes: Sequence[str]) -> Figure:
    """Images, their input gradients, what the attack made of them, and how it differs."""
    columns = min(MOST_COLUMNS, len(arrays["labels"]))
    data = {name: values[:columns] for name, values in arrays.items()}
    eps = result.config.threat.eps if result.config.threat.norm == "linf" else None
    deltas = data["adversarial"] - data["clean"]
    rows = {
        "clean": list(data["clean"]),
        "gradient": [_around_grey(gradient) for gradient in data["gradient"]],
        "adversarial": list(data["adversarial"]),
        "perturbation": [_around_grey(delta, largest=eps) for delta in deltas],
    }
    figure, grid = _grid(len(rows), columns, extra=0.9)
    for row, images in zip(grid, rows.values(), strict=True):
        for axes, image in zip(row, images, strict=True):
            _show(axes, image)
    for row, kind in ((0, "clean_prediction"), (2, "adversarial_prediction")):
        for axes, said, label in zip(grid[row], data[kind], data["labels"], strict=True):
            _write(axes, classes[int(said)], is_right=bool(said == label))
    _name_rows(grid, tuple(rows))
    attack = result.findings.robust.attack
    figure.suptitle(
        f"{result.models[0].name}: {attack}, {threat_text(result.config.threat)}\n"
        "gradients scaled to their 99th percentile; above the images, what the model says",
        fontsize=10,
    )
    return figure


def features_figure(result: FeaturesResult, arrays: Arrays, *, classes: Sequence[str]) -> Figure:
    """The image made for each class, and below it what was changed in the noise."""
    features = result.findings.features[:MOST_FEATURES]
    columns = min(MOST_COLUMNS, len(features))
    bands = math.ceil(len(features) / columns)
    figure, grid = _grid(2 * bands, columns, extra=0.8 + 0.15 * bands)
    changes = arrays["image"] - arrays["noise"]
    for axes in grid.flat:
        axes.set_axis_off()
    for place, feature in enumerate(features):
        band, column = divmod(place, columns)
        image, change = grid[2 * band, column], grid[2 * band + 1, column]
        _show(image, arrays["image"][place])
        _show(change, _around_grey(changes[place]))
        text = f"{classes[feature.target]}\n{feature.probability:.2f}"
        _write(image, text, is_right=feature.prediction == feature.target)
    figure.suptitle(
        f"{result.models[0].name}: uniform noise after targeted pgd{result.config.steps}, and what "
        f"changed\n{threat_text(result.config.threat)}; above, the class aimed at and its "
        "probability",
        fontsize=10,
    )
    return figure


def _grid(rows: int, columns: int, *, extra: float) -> tuple[Figure, npt.NDArray[Any]]:
    """Returns a figure of square axes, and the axes (rows, columns)."""
    figure = Figure(
        figsize=(max(1.5 * columns + 0.4, 6.4), 1.5 * rows + extra), layout="constrained"
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def _show(axes: Axes, image: Image) -> None:
    axes.imshow(np.clip(image, 0, 1).transpose(1, 2, 0), interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _around_grey(values: Image, *, largest: float | None = None) -> Image:
    """Returns signed values as an image: grey is 0; `largest` or the 99th percentile is full."""
    full = float(np.percentile(np.abs(values), 99)) if largest is None else largest
    return 0.5 + values / (2 * max(full, 1e-12))


def _name_rows(grid: npt.NDArray[Any], names: Sequence[str]) -> None:
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=10)


def _write(axes: Axes, text: str, *, is_right: bool = True) -> None:
    # The mark helps where the colour does not.
    shown = text.replace("_", " ") if is_right else f"x {text.replace('_', ' ')}"
    axes.set_title(shown, fontsize=7.5, color="#333333" if is_right else VERMILION, pad=3)
