import io
from pathlib import Path

import pytest
from diagnosis_factory import END, FLAG
from manual_clock import Clock
from records_factory import (
    experiment,
    full_run,
    progress,
    record,
    result,
    search_records,
)
from rich.console import Console

from search.books.diagnosing import diagnosis_text
from search.books.records import Promoted, TrialRecord
from search.live.progress import (
    ProgressView,
    duration,
    status_table,
)
from search.live.time_left import estimate_seconds_left


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

    assert "12 of 12 trials begun" in written(out)
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
    left = estimate_seconds_left(records, total, concurrent, ages={})

    assert left == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("age_s", "seconds"),
    [(4.0, 60.0), (500.0, 64 - 64 / 6)],  # at most one epoch is believed done without a report
)
def test_the_time_left_runs_down_between_epochs(age_s: float, seconds: float) -> None:
    left = estimate_seconds_left([HALF], 1, 1, ages={HALF.key: age_s})

    assert left == pytest.approx(seconds)


def test_the_clocks_on_a_terminal_run_while_nothing_is_reported() -> None:
    out, clock = console(is_terminal=True), Clock()

    with ProgressView(out, total_trials=1, concurrent=1, clock=clock) as view:
        clock.now += 65
        view.show([HALF])
        clock.now += 2
        view.show([HALF])
        clock.now += 2

    last_frame = written(out).rpartition("of 1 trials begun")[2]
    assert "elapsed 1:09, about 1:00 left" in last_frame
    assert "6/12" in last_frame
    assert last_frame.count("1:00") == 2  # in the header, and in the trial's row


def test_a_new_epoch_sets_the_age_of_its_trial_alone_to_zero() -> None:
    out, clock = console(is_terminal=True), Clock()
    other = record(3, status="running", epochs=3)  # 32 / 3 s an epoch, 9 to go: 96 s
    after = record(3, status="running", epochs=6)  # 64 s to go, as HALF had

    with ProgressView(out, total_trials=2, concurrent=2, clock=clock) as view:
        view.show([HALF, other])
        clock.now += 4
        view.show([HALF, after])

    last_frame = written(out).rpartition("of 2 trials begun")[2]
    rows = {line.split()[0]: line.split()[-1] for line in last_frame.splitlines() if "t000" in line}
    assert {key: text for key, text in rows.items() if key.startswith("t")} == {
        "t00002": "1:00",
        "t00003": "1:04",
    }


def test_status_shows_every_trial_and_says_when_nothing_runs(tmp_path: Path) -> None:
    out = console(is_terminal=False)
    finished = [trial for trial in search_records() if trial.status != "running"]

    out.print(status_table(finished, experiment(tmp_path), []))

    text = written(out)
    assert all(trial.key in text for trial in finished)
    assert "No trial is running." in text
    assert "about" not in text


def test_status_shows_why_a_trial_was_ended_and_what_others_are_flagged_with(
    tmp_path: Path,
) -> None:
    out = Console(file=io.StringIO(), width=200)
    ended = record(1, status="diagnosed", reason=diagnosis_text(END))
    flagged = {"diagnoses": (FLAG,)}
    running = record(2, status="running", epochs=6)
    trials = [ended.model_copy(update={"diagnoses": (END,)})]
    trials += [one.model_copy(update=flagged) for one in (WHOLE, running)]

    out.print(status_table(trials, experiment(tmp_path), []))

    rows = {words[0]: words for line in written(out).splitlines() if (words := line.split())}
    assert " ".join(rows["t00001"]).endswith(f" {diagnosis_text(END)}")
    assert rows["t00000"][-3:] == ["flagged:", "label", "leaking"]
    assert " ".join(rows["t00002"]).endswith("1:04, flagged: label leaking")
    assert "1 diagnosed" in written(out)


def test_status_of_a_search_without_trials_says_so(tmp_path: Path) -> None:
    out = console(is_terminal=False)

    out.print(status_table([], experiment(tmp_path), []))

    assert "No trial has begun." in written(out)


def test_status_shows_the_full_runs_below_the_trials(tmp_path: Path) -> None:
    out = Console(file=io.StringIO(), width=200)
    begun = full_run("t00005").model_copy(update={"status": "running", "progress": None})
    training = begun.model_copy(update={"key": "t00006", "progress": progress(9)})
    failed = begun.model_copy(
        update={"key": "t00007", "status": "failed", "reason": "lost [its] node\ntwice"}
    )
    evaluated = result(clean=150, robust=96)
    promoted: list[Promoted] = [
        (full_run("t00003"), evaluated),
        *((run, None) for run in (begun, training, failed)),
    ]

    out.print(status_table([WHOLE], experiment(tmp_path), promoted))

    rows = {words[0]: words[1:] for line in written(out).splitlines() if (words := line.split())}
    (low, high), (least, most) = evaluated.clean.interval, evaluated.robust.interval
    assert list(rows)[-4:] == ["t00003", "t00005", "t00006", "t00007"]
    assert " ".join(rows["t00003"]) == (
        f"tpe completed 12/30 0.625 [{low:.3f}, {high:.3f}] (clean, n=240) "
        f"0.400 [{least:.3f}, {most:.3f}] (autoattack-standard, n=240)"
    )
    assert " ".join(rows["t00005"]) == "tpe running 0/30 not evaluated yet"
    assert " ".join(rows["t00006"]) == "tpe running 9/30 not evaluated yet"
    assert " ".join(rows["t00007"]) == "tpe failed 0/30 lost [its] node"
    assert "No trial is running." not in written(out)


def test_a_narrow_terminal_keeps_attack_and_n_of_a_full_run(tmp_path: Path) -> None:
    out = console(is_terminal=False)  # 60 columns
    promoted: list[Promoted] = [(full_run("t00003"), result(clean=150, robust=96))]

    out.print(status_table([WHOLE], experiment(tmp_path), promoted))

    assert "0.400" in written(out)
    assert "n=240" in written(out)
    assert "\N{HORIZONTAL ELLIPSIS}" not in written(out).partition("full run")[2]
    assert "No trial is running." in written(out)


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (125, "2:05"), (3723, "1:02:03")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
