import io
from pathlib import Path

import pytest
from records_factory import experiment, record, search_records
from rich.console import Console

from search.progress import (
    ProgressView,
    duration,
    estimate_seconds_left,
    new_events,
    status_table,
)
from search.records import TrialRecord


def console(*, is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=60 + 60 * is_terminal)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(out: Console) -> list[str]:
    return [line.split(" ", 1)[1] for line in written(out).splitlines()]


def test_each_event_is_one_line_and_is_printed_once() -> None:
    out = console(is_terminal=False)
    begun, third = record(3, status="running", epochs=0), record(3, status="running", epochs=3)
    stopped = record(3, status="stopped", epochs=3, reason="below the cut\nof rung 3")

    with ProgressView(out, total_trials=12, concurrent=2) as view:
        for trial in (begun, begun, third, third, stopped, stopped):
            view.show([trial])

    said = lines(out)
    assert [" ".join(line.split()[:2]) for line in said] == [
        "t00003 started:",
        "t00003 epoch",
        "t00003 epoch",
        "t00003 epoch",
        "t00003 rung",
        "t00003 stopped:",
    ]
    assert said[-1] == "t00003 stopped: below the cut (epoch 3/12)"


def test_a_rung_states_interval_attack_and_n() -> None:
    trial = record(3, status="running", epochs=3)
    robust = trial.checks[0][1].robust
    low, high = robust.interval

    (event,) = [line for line in new_events(None, trial) if " rung " in line]

    assert event.startswith(
        f"t00003 rung 3: robust {robust.value:.3f} [{low:.3f}, {high:.3f}] "
        "(apgd_ce10+apgd_t3x10, n=120)"
    )


def test_a_resumed_search_does_not_repeat_what_happened_before() -> None:
    out = console(is_terminal=False)
    old, running = record(0), record(1, status="running", epochs=4)
    again = running.model_copy(update={"sessions": 2})

    with ProgressView(out, total_trials=12, concurrent=2) as view:
        view.show([old, running])
        view.show([old, again])

    assert lines(out) == [
        "resuming with 1 completed, 1 running",
        "t00001 resumed: session 2, epoch 4",
    ]


def test_brackets_in_a_reason_are_text_not_markup() -> None:
    out = console(is_terminal=False)
    trial = record(1, status="failed", epochs=0, reason="shape [bold] [/] wrong")

    with ProgressView(out, total_trials=2, concurrent=1) as view:
        view.show([])
        view.show([trial])

    assert "shape [bold] [/] wrong" in written(out)


def test_a_terminal_gets_a_table_with_the_best_trial() -> None:
    out = console(is_terminal=True)

    with ProgressView(out, total_trials=12, concurrent=2) as view:
        view.show(search_records())

    assert "11 of 12 trials done" in written(out)
    assert "best so far: t00003 (tpe)" in written(out)
    assert "t00011" in written(out)


# A trial of record n: n + 6 s start-up, 10 s an epoch, 2 s a check at epochs 3, 6 and 12.
WHOLE = record(0)  # 6 + 120 + 6 = 132 s
STOPPED = record(4, status="stopped", epochs=3)  # 10 + 30 + 2 = 42 s
HALF = record(2, status="running", epochs=6)  # (60 + 4) / 6 s an epoch, 6 to go: 64 s
FRESH = record(5, status="running", epochs=0)


@pytest.mark.parametrize(
    ("records", "total", "concurrent", "seconds"),
    [
        ([], 4, 2, None),
        ([FRESH], 4, 2, None),
        ([WHOLE], 1, 2, 0.0),
        ([WHOLE, STOPPED], 6, 2, 4 * 87 / 2),
        ([WHOLE, HALF], 2, 4, 64.0),
        ([WHOLE, HALF, FRESH], 3, 2, 132.0),
        ([HALF], 3, 2, (2 * (8 + 64 + 64) + 64) / 2),
    ],
)
def test_the_time_left_is_the_work_left_shared_by_the_places(
    records: list[TrialRecord], total: int, concurrent: int, seconds: float | None
) -> None:
    left = estimate_seconds_left(records, total, concurrent)

    assert left == (None if seconds is None else pytest.approx(seconds))


def test_status_shows_every_trial_and_says_when_nothing_runs(tmp_path: Path) -> None:
    out = console(is_terminal=False)
    finished = [trial for trial in search_records() if trial.status != "running"]

    out.print(status_table(finished, experiment(tmp_path)))

    text = written(out)
    assert all(trial.key in text for trial in finished)
    assert "No trial is running." in text
    assert "about" not in text


def test_status_of_a_search_without_trials_says_so(tmp_path: Path) -> None:
    out = console(is_terminal=False)

    out.print(status_table([], experiment(tmp_path)))

    assert "No trial has begun." in written(out)


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (125, "2:05"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
