"""Two searches of one task: which found the better trial for the same device-hours.

What full runs cost is not counted: they come after the search. A trial counts when it ends, in the
order in which trials ended; what others had spent by then counts when they end themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.analysis.axes import style_axes
from search.books.records import TrialRecord, read_records
from search.books.spending import HOUR_S, busy_seconds
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.load import load_experiment
from search.places import name_of
from search.promotion.card import accuracy_text, threat_text
from search.report.grids import value_text
from search.report.pictures import BLUE, GREY, VERMILION, save_picture
from search.resources import WorkersConfig
from search.results.budget_spent import device_name
from search.results.table import rank_trials
from search.results.trust import all_rungs, rung_survival
from trainers.metrics import Accuracy

TOPS = (1, 3)
"""How many of the best trials a curve is the mean of."""
DATA_OF_TRAINING = {"train_images", "extra", "max_bad", "test_images", "test_path"}
"""Fields of the data that no early check depends on."""
CHECK_FIELDS = ("images", "ce_steps", "t_steps", "targets", "seed")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A moment of a search: a trial has just ended."""

    device_hours: float
    """Of all trials that have ended."""
    completed: tuple[TrialRecord, ...]
    """Trials trained to their last epoch so far, best first."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search, as it is compared."""

    name: str
    experiment: ExperimentConfig
    records: Sequence[TrialRecord]
    moments: Sequence[Ended]

    @property
    def device_hours(self) -> float:
        """What all of its trials held."""
        return self.moments[-1].device_hours if self.moments else 0.0

    def completed_within(self, device_hours: float) -> tuple[TrialRecord, ...]:
        """Returns the trials completed until so much was spent, best first."""
        within = [m.completed for m in self.moments if m.device_hours <= device_hours]
        return within[-1] if within else ()


def compare_studies(first: SearchFolder, second: SearchFolder) -> RenderableType:
    """Returns a page on two searches, and draws the picture that it names.

    Raises:
        UserError: If their trials were not checked alike, or one has completed none.
    """
    a, b = _read(first), _read(second)
    if reason := why_not_comparable(a.experiment, b.experiment):
        raise UserError(
            f"{first.root} and {second.root} cannot be compared: {reason}, so their trials answer "
            "different questions; compare their full runs, evaluated by one protocol"
        )
    for study, folder in ((a, first), (b, second)):
        if not study.moments or not study.moments[-1].completed:
            raise UserError(
                f"{folder.root} has no trial that was trained to its last epoch; "
                f"`rampart resume {name_of(folder)}` goes on with it"
            )
    picture = first.report / f"against_{second.root.name}.png"
    save_picture(progress_figure(a, b), picture)
    return Group(
        Text(f"A: {first.root}"),
        Text(f"B: {second.root}"),
        Text(f"{threat_text(a.experiment.base.threat)}, select split, early checks; no full runs"),
        Text(),
        _outcome_table(a, b),
        Text(),
        _survival_table(a, b),
        Text(),
        _best_table(a, b),
        Text(
            "\nIntervals, 95 %, hold the choice of images. Not the luck of the searches, of which "
            "this is one run each,\nnor that the best of many trials looks better than it is.\n"
            f"picture   {picture}"
        ),
    )


def why_not_comparable(a: ExperimentConfig, b: ExperimentConfig) -> str:
    """Returns why the checks of two searches cannot be compared; empty if they can."""
    fields: dict[str, tuple[object, object]] = {
        "threat": (a.base.threat, b.base.threat),
        "the device": (device_name(a.resources), device_name(b.resources)),
    }
    for name in CHECK_FIELDS:
        fields[f"early_check.{name}"] = (getattr(a.early_check, name), getattr(b.early_check, name))
    ours, theirs = (one.base.data.model_dump(exclude=DATA_OF_TRAINING) for one in (a, b))
    for name in sorted({*ours, *theirs}):
        fields[f"data.{name}"] = (ours.get(name), theirs.get(name))
    for name, (of_a, of_b) in fields.items():
        if of_a != of_b:
            return f"{name} differs ({of_a} and {of_b})"
    return ""


def moments_of(records: Sequence[TrialRecord], workers: WorkersConfig) -> list[Ended]:
    """Returns a moment for each trial that held workers, in the order in which they ended.

    Running trials come last.
    """
    begun = [record for record in records if busy_seconds(record)]
    order = sorted(begun, key=lambda record: (_ended_at(record), record.number))
    spent = 0.0
    completed: list[TrialRecord] = []
    moments: list[Ended] = []
    for record in order:
        spent += busy_seconds(record) * workers.devices / HOUR_S
        if record.status == "completed":
            completed = rank_trials([*completed, record])
        moments.append(Ended(device_hours=spent, completed=tuple(completed)))
    return moments


def mean_of_best(completed: Sequence[TrialRecord], *, top: int) -> Accuracy | None:
    """Returns the mean robust accuracy of the `top` best; None where there are fewer.

    They are checked on the same images, so that the interval is that of one check: it is rounded to
    a whole number of images, and as wide as if the trials failed on the same ones.
    """
    best = [check.robust for r in completed[:top] if (check := r.last_check)]
    if len(best) < top:
        return None
    correct = round(sum(accuracy.correct for accuracy in best) / top)
    return Accuracy(attack=best[0].attack, n=best[0].n, correct=correct)


def difference_interval(a: Accuracy, b: Accuracy) -> tuple[float, float]:
    """Returns the 95 % interval of a - b, as if of different images; of the same it is too wide.

    Source: Newcombe 1998, Stat. Med. 17:873, method 10, from the two Wilson intervals.
    """
    (low_a, high_a), (low_b, high_b) = a.interval, b.interval
    difference = a.value - b.value
    below = math.hypot(a.value - low_a, high_b - b.value)
    above = math.hypot(high_a - a.value, b.value - low_b)
    return difference - below, difference + above


def progress_figure(a: Study, b: Study) -> Figure:
    """Robust accuracy of the best trials so far against the device-hours spent."""
    figure = Figure(figsize=(7.4, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for study, letter, color in ((a, "A", BLUE), (b, "B", VERMILION)):
        _draw_progress(axes, study, label=f"{letter}: {study.name}", color=color)
    budget = min(a.device_hours, b.device_hours)
    axes.axvline(budget, color=GREY, linestyle=":", label="equal budget")
    style_axes(axes, y="robust accuracy, select split", is_share=True)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{device_name(a.experiment.resources)}-hours of trials")
    check = a.moments[-1].completed[0].last_check
    assert check is not None
    title = f"Best completed trials so far, {check.robust.attack}, n={check.robust.n}"
    axes.set_title(title, fontsize=11)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def _ended_at(record: TrialRecord) -> float:
    """Returns the Unix time at which a trial ended; of a paused one, as if all of its sessions had
    been alike."""
    if record.finished_at is not None:
        return record.finished_at
    if record.status == "paused" and record.started_at is not None:
        return record.started_at + busy_seconds(record) / record.sessions
    return math.inf


def _draw_progress(axes: Axes, study: Study, *, label: str, color: str) -> None:
    for top, style in zip(TOPS, ("-", "--"), strict=True):
        points = [(m.device_hours, mean_of_best(m.completed, top=top)) for m in study.moments]
        known = [(hours, accuracy) for hours, accuracy in points if accuracy is not None]
        if not known:
            continue
        hours = [at for at, _ in known]
        values = [accuracy.value for _, accuracy in known]
        what = "best trial, 95 % interval" if top == 1 else f"mean of the best {top}"
        axes.step(
            hours, values, where="post", color=color, linestyle=style, label=f"{label}, {what}"
        )
        if top == 1:
            lows, highs = zip(*(accuracy.interval for _, accuracy in known), strict=True)
            axes.fill_between(hours, lows, highs, step="post", color=color, alpha=0.13, linewidth=0)


def _read(folder: SearchFolder) -> Study:
    experiment = load_experiment(folder.config, {})
    records = read_records(folder.trials)
    return Study(
        name=experiment.name,
        experiment=experiment,
        records=records,
        moments=moments_of(records, experiment.resources),
    )


def _outcome_table(a: Study, b: Study) -> Table:
    device = device_name(a.experiment.resources)
    table = _table("", "A", "B", "A - B")
    _add(table, "trials", str(len(a.records)), str(len(b.records)))
    _add(table, f"{device}-hours", f"{a.device_hours:.3g}", f"{b.device_hours:.3g}")
    equal = min(a.device_hours, b.device_hours)
    moments = {
        f"after {equal:.3g} {device}-hours": [s.completed_within(equal) for s in (a, b)],
        "at the end": [s.completed_within(s.device_hours) for s in (a, b)],
    }
    for when, (ours, theirs) in moments.items():
        for top in TOPS:
            what = "best trial" if top == 1 else f"mean of the best {top}"
            pair = (mean_of_best(ours, top=top), mean_of_best(theirs, top=top))
            texts = [accuracy_text(one) if one else "none yet" for one in pair]
            _add(table, f"{what} {when}", *texts, _difference(*pair))
    return table


def _difference(a: Accuracy | None, b: Accuracy | None) -> str:
    if a is None or b is None:
        return ""
    low, high = difference_interval(a, b)
    verdict = "" if low > 0 or high < 0 else ", not resolved"
    points = 100 * (a.value - b.value)
    return f"{points:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]{verdict}"


def _survival_table(a: Study, b: Study) -> Table:
    table = _table("trials", "A", "B")
    passages = [
        {one.epoch: one for one in rung_survival(s.records, rungs=all_rungs(s.experiment))}
        for s in (a, b)
    ]
    for epoch in sorted({*passages[0], *passages[1]}):
        texts: list[str] = []
        for of_study in passages:
            there = of_study.get(epoch)
            fates = [f"{n} {fate}" for fate, n in there.fates.items()] if there else []
            texts.append(f"{there.reached}: {', '.join(fates)}" if there and fates else "none")
        _add(table, f"at epoch {epoch}" if epoch else "began", *texts)
    return table


def _best_table(a: Study, b: Study) -> Table:
    """The best trials of both at the end: their samples side by side."""
    best = [study.completed_within(study.device_hours)[0] for study in (a, b)]
    table = _table("best trial", "A", "B")
    _add(table, "key", *(record.key for record in best))
    _add(table, "origin", *(record.origin for record in best))
    _add(table, "epochs", *(str(record.config.epochs) for record in best))
    for path in sorted({*best[0].params, *best[1].params}):
        values = (value_text(record.params.get(path, "")) for record in best)
        _add(table, path, *values)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    # Text, not str: a path may hold brackets, which rich would read as markup.
    table.add_row(*map(Text, cells))
