"""What `rampart plan` prints: the space, its cost, and what the budget buys. Nothing is spent."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.books.spending import HOUR_S
from search.config import ExperimentConfig
from search.errors import UserError
from search.live.progress import duration
from search.plan.climb import expected_climb, whole_climb
from search.plan.cost_page import cost_page
from search.plan.earlier import Earlier, read_earlier
from search.plan.plan import Pace, Span, full_run_epochs, full_runs, pace_of, span_of, trials_within
from search.plan.steps import Steps, counted, find_steps
from search.results.budget_spent import device_name
from search.space.constraints import measure
from search.space.page import size_text, space_table
from trainers.config import TrialConfig


def plan_page(experiment: ExperimentConfig, *, with_timing: bool) -> RenderableType:
    """Returns the plan of a search; nothing is written.

    Args:
        with_timing: Whether some steps of training are timed on this machine, which takes up to a
            minute or two; without, times come from records of earlier searches alone.

    Raises:
        UserError: If a model cannot be built for the data.
    """
    return Group(
        _heading("The space"),
        space_table(experiment.space),
        Text(f"\n{size_text(experiment.space)}"),
        _heading("Its cost"),
        cost_page(experiment),
        _heading("What the budget buys"),
        *map(Text, _ladder_lines(experiment)),
        *_times(experiment, with_timing=with_timing),
    )


def _ladder_lines(experiment: ExperimentConfig) -> Iterator[str]:
    ladder, base, budget = experiment.ladder, experiment.base, experiment.budget
    climb = expected_climb(base, ladder)
    caps = {
        "trials": budget.trials,
        "hours": budget.hours,
        "device_hours": budget.device_hours,
        "spend": budget.spend,
    }
    named = ", ".join(f"{name} {cap:g}" for name, cap in caps.items() if cap is not None)
    starts = len(experiment.warm_start)
    yield f"Budget: {named}. Warm starts: {starts}, then {experiment.sampler.name}."
    if budget.spend is not None:
        yield "The spend is taken for hours of one node of the dearest type."
    rungs = ", ".join(map(str, (*ladder.rungs, base.epochs)))
    share = "" if ladder.decide in ("none", "median") else f", reduction {ladder.reduction}"
    yield (
        f"Ladder: {ladder.kind} with rungs {rungs}, decide {ladder.decide}{share}. In the long run "
        f"a trial takes {climb.epochs:.3g} of {base.epochs} epochs, {climb.checks:.3g} checks and "
        f"{climb.sessions:.3g} starts{', or less while the ladder grows' if ladder.growth else ''}."
    )
    cost = measure(base).get("train_cost")
    if cost is not None:
        mean = 1e15 * cost * climb.epochs / base.epochs
        total = "" if budget.trials is None else f", {mean * budget.trials:.3g} in all trials"
        yield f"Multiply-adds at the cost of the base: {mean:.3g} in a trial on average{total}."


def _times(experiment: ExperimentConfig, *, with_timing: bool) -> Iterator[RenderableType]:
    try:
        base = counted(experiment.base)
        earlier = read_earlier(Path(experiment.runs_dir), base)
        steps = find_steps(experiment, base, earlier, with_timing=with_timing)
    except UserError as error:
        yield Text(f"No times: {error}.")
        return
    pace = pace_of(steps.trials, steps.seconds, earlier.startup_s, experiment)
    yield Text()
    yield _times_table(experiment, base, steps, pace)
    yield Text(f"\n{steps.note}")
    yield Text(
        "Checks: from all images broken by the first attack to none by the last. "
        f"{_startup_text(earlier)} Reading of images and reference attacks are not counted."
    )
    cap, whole = experiment.budget.trial_hours, pace.of(whole_climb(base, experiment.ladder))
    if cap is not None and whole.high > cap * HOUR_S:
        yield Text(
            f"The dearest trial takes up to {duration(whole.high)} to its last epoch: beyond "
            f"budget.trial_hours ({cap:g}), where it is stopped."
        )


def _times_table(
    experiment: ExperimentConfig, base: TrialConfig, steps: Steps, pace: Pace
) -> Table:
    resources, ladder = experiment.resources, experiment.ladder
    trial_s = pace.of(expected_climb(base, ladder))
    count = trials_within(experiment, trial_s)
    total = trial_s.by(count)
    full, runs = pace.epoch.times(full_run_epochs(experiment, base)), full_runs(experiment)
    devices, hours = resources.devices / HOUR_S, f"{device_name(resources)}-hours"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for name in ("if all are cheapest", "as the base", "if all are dearest"):
        table.add_column(name, justify="right", overflow="fold")
    rows: list[tuple[str, Sequence[str]]] = [
        ("a step, s", [_spread(seconds) for seconds in steps.seconds]),
        ("an epoch", _durations(pace.epoch)),
        ("an early check", _durations(pace.check)),
        ("a trial to its last epoch", _durations(pace.of(whole_climb(base, ladder)))),
        ("a trial on average", _durations(trial_s)),
        ("trials", [f"{value:.0f}" for value in count.values]),
        (f"trials, {hours}", _numbers(total.times(devices))),
        ("trials, wall time", _durations(_wall(total, experiment, runs=count.base))),
        (f"{runs} full runs, {hours}", _numbers(full.times(devices))),
        (f"{runs} full runs, wall time", _durations(_wall(full, experiment, runs=runs))),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _wall(total: Span, experiment: ExperimentConfig, *, runs: float) -> Span:
    side_by_side = min(experiment.resources.concurrent_trials, max(1.0, runs))
    return total.times(1 / side_by_side)


def _durations(span: Span) -> list[str]:
    return [duration(value) for value in span.values]


def _numbers(span: Span) -> list[str]:
    return [f"{value:.3g}" for value in span.values]


def _spread(seconds: Sequence[float]) -> str:
    span = span_of(seconds)
    ends = f" ({span.low:.3g} to {span.high:.3g})" if len(seconds) > 1 else ""
    return f"{span.base:.3g}{ends}"


def _startup_text(earlier: Earlier) -> str:
    if not earlier.startup_s:
        return "Start-up is left out: there are no records of earlier trials."
    return (
        f"Start-up: {span_of(earlier.startup_s).base:.3g} s, the median of earlier trials "
        f"({len(earlier.startup_s)}, of searches: {earlier.searches})."
    )


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")
