from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from records_factory import experiment, record, search_records

from search.report.pictures_rungs import FATE_COLORS, expenses_figure, rungs_figure
from search.results.budget_spent import expenses
from search.results.trust import FATES, Agreement, agreements, rung_survival

RUNGS = [3, 6, 12]


def width_of(axes: Axes) -> float:
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return sum(bar.get_width() for bar in bars)


def test_the_bars_at_the_rungs_are_the_trials_that_reached_them() -> None:
    passages = rung_survival(search_records(), rungs=RUNGS)

    figure = rungs_figure(passages, agreements(search_records(), [], rungs=RUNGS))

    upper = figure.axes[0]
    assert width_of(upper) == sum(one.reached for one in passages) == 12 + 11 + 7 + 6
    legend = upper.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["went on", "completed", "running", "stopped", "failed"]


def test_every_fate_has_its_colour() -> None:
    assert set(FATE_COLORS) == set(FATES)
    assert len(set(FATE_COLORS.values())) == len(FATES)


def test_agreements_without_an_interval_have_no_point_and_say_why() -> None:
    pairs = [
        Agreement(lower="epoch 3", upper="epoch 6", n=9, tau=0.5, interval=(0.1, 0.8)),
        Agreement(lower="epoch 3", upper="epoch 12", n=4, tau=0.6, interval=None),
        Agreement(lower="epoch 6", upper="epoch 12", n=9, tau=None, interval=None),
    ]

    lower = rungs_figure(rung_survival([record(0)], rungs=RUNGS), pairs).axes[1]

    points = [line for line in lower.lines if line.get_marker() == "o"]
    assert len(points) == 1
    assert [text.get_text() for text in lower.texts] == [
        "n=9",
        "n=4: too few to tell",
        "n=9: a tie",
    ]


def test_the_bars_of_the_budget_add_up_to_all_of_it() -> None:
    workers = experiment(Path("/nowhere")).resources
    spent = expenses(search_records(), [], reference_seconds={}, workers=workers)

    axes = expenses_figure(spent, device="CPU").axes[0]

    total = sum(one.device_hours for one in spent)
    assert width_of(axes) == pytest.approx(total)
    assert axes.get_title() == f"What {total:.3g} CPU-hours went into"
    shares = [text.get_text().rpartition(", ")[2] for text in axes.texts]
    assert sum(int(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=len(shares))
