"""What `rampart plan` prints: closed forms, from records of known seconds."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from records_factory import experiment, record
from rich.console import Console

from search.books.records import write_record
from search.config import ExperimentConfig
from search.overrides import with_overrides
from search.plan.page import plan_page
from search.plan.plan import Span, check_passes, trials_within
from search.space.constraints import measure


def printed(of: ExperimentConfig, *, with_timing: bool = False) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(plan_page(of, with_timing=with_timing))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def told(of: ExperimentConfig, *, with_timing: bool = False) -> str:
    """Returns the page as one line."""
    return " ".join(printed(of, with_timing=with_timing).split())


def row(page: str, what: str) -> list[str]:
    [line] = [line for line in page.splitlines() if line.startswith(f"{what} ")]
    return line.removeprefix(what).split()


def planned(root: Path, **overrides: Any) -> ExperimentConfig:
    return with_overrides(experiment(root), overrides)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A trial of an earlier search: ten steps of a second in each epoch, and 6 s of start-up."""
    write_record(_record_path(tmp_path, "old"), record(0))
    return tmp_path


def _record_path(root: Path, name: str) -> Path:
    path = root / name / "trials" / "t00000" / "record.json"
    path.parent.mkdir(parents=True)
    return path


def test_the_space_its_size_and_its_cost_are_told_without_any_time(tmp_path: Path) -> None:
    of = planned(tmp_path / "runs")

    page = printed(of)

    assert " attack.name choice pgd, apgd model.depths choice [1, 1], [1, 2] Size" in told(of)
    assert row(page, "optim.lr") == ["log_uniform", "0.0001", "to", "0.01"]
    assert "Size: 4 combinations; axes of real numbers in each: at most 1." in page
    assert "model.depths = [1, 2]" in page
    assert "No times: nothing was timed" in page
    assert not (tmp_path / "runs").exists()


def test_an_axis_with_a_condition_says_when_it_exists(tmp_path: Path) -> None:
    space = {
        "_mix": {"choice": ["off", "on", "half"]},
        "augment.mixup": {
            "uniform": [0.1, 1.0],
            "when": {"_mix": ["on", "half"]},
            "otherwise": 0.0,
        },
        "augment.flip": {"fixed": 0.5},
    }

    page = told(planned(tmp_path, space=space, warm_start=[]))

    assert "augment.mixup uniform 0.1 to 1 _mix = on or half; otherwise 0 augment.flip" in page
    assert "augment.flip fixed 0.5 " in page
    assert "Size: 3 combinations; axes of real numbers in each: at most 1." in page


def test_times_follow_from_the_seconds_of_earlier_trials(runs: Path) -> None:
    page = printed(planned(runs))

    # 10 s an epoch; pgd-1 takes 5 passes of 48 images in a second; a check of 120 images takes
    # from 25 + 21 to 25 + 21 + 3 * 21 passes.
    check = 120 * (46 + 109) / 2 / (48 * 5)
    mean = 10 * (3 + 3 / 3 + 6 / 9) + (check + 6) * (1 + 1 / 3 + 1 / 9)
    assert row(page, "a step, s")[4:8] == ["1", "(1", "to", "1)"]
    assert _base(page, "an epoch") == "0:10"
    assert _base(page, "an early check") == f"0:{check:.0f}"
    assert _base(page, "a trial to its last epoch") == _clock(120 + 3 * (check + 6))
    assert _base(page, "a trial on average") == _clock(mean)
    assert _base(page, "trials") == "12"
    assert _base(page, "trials, CPU-hours") == f"{12 * mean * 2 / 3600:.3g}"
    assert _base(page, "trials, wall time") == _clock(12 * mean / 2)
    # The best trial and the default, of 30 epochs.
    assert _base(page, "2 full runs, CPU-hours") == f"{2 * 300 * 2 / 3600:.3g}"
    assert _base(page, "2 full runs, wall time") == "5:00"
    assert "Start-up: 6 s, the median of earlier trials (1, of searches: 1)." in told(planned(runs))


def test_the_dearest_and_the_cheapest_bound_the_base(runs: Path) -> None:
    page = printed(planned(runs))

    for what in ("an epoch", "a trial on average", "trials, wall time"):
        low, base, high = (_seconds(cell) for cell in row(page, what))
        assert low <= base < high
    assert "Cheapest: base. Dearest: optim.lr = " in told(planned(runs))
    assert "attack.name = apgd, model.depths = [1, 2]." in told(planned(runs))


def test_what_the_constraints_do_not_allow_is_not_the_dearest(runs: Path) -> None:
    gmacs = measure(experiment(runs).base)["gmacs"]

    page = told(planned(runs, constraints={"gmacs": {"max": 1.001 * gmacs}}))

    assert "Dearest: attack.name = apgd" in page


@pytest.mark.parametrize(
    ("budget", "trials"),
    [
        ({"trials": 7}, 7),
        ({"hours": 1.0}, 144),  # two trials of 50 s at a time
        ({"device_hours": 1.0}, 36),  # each holds two cores
        ({"spend": 4.0, "prices": {"a": 1.0, "b": 2.0}}, 288),
        ({"trials": 100, "hours": 10.0, "device_hours": 1.0}, 36),
    ],
)
def test_the_first_cap_says_how_many_trials_there_are(
    tmp_path: Path, budget: dict[str, Any], trials: int
) -> None:
    of = planned(tmp_path, budget=budget)

    count = trials_within(of, Span(low=25.0, base=50.0, high=1e9))

    assert count.base == trials
    assert count.low >= count.base >= count.high
    assert count.high == (7 if budget == {"trials": 7} else 0)


def test_seeds_stages_and_the_default_are_among_the_full_runs(runs: Path) -> None:
    promotion = {
        "top_k": 4,
        "seeds": 3,
        "min_clean_accuracy": 0.2,
        "before": [{"overrides": {"epochs": 6}, "keep": 2}],
        "overrides": {"epochs": 30, "data.train_images": 1920},
    }

    page = printed(planned(runs, promotion=promotion))

    # 4 of 6 epochs, then 2 and the default, 3 times each, of 30 epochs of twice the images.
    seconds = 10 * (4 * 6 + 9 * 30 * 2)
    assert _base(page, "9 full runs, CPU-hours") == f"{seconds * 2 / 3600:.3g}"


def test_a_trial_beyond_its_hours_is_told(runs: Path) -> None:
    page = printed(planned(runs, **{"budget.trial_hours": 0.05}))

    assert "beyond budget.trial_hours (0.05), where it is stopped." in page
    assert "trial_hours" not in printed(planned(runs, **{"budget.trial_hours": 1.0}))


def test_records_that_cannot_be_read_or_trained_otherwise_say_nothing(tmp_path: Path) -> None:
    _record_path(tmp_path, "broken").write_text("{}")
    write_record(_record_path(tmp_path, "other"), record(0, params={"model.depths": [1, 2]}))

    assert "No times" in printed(planned(tmp_path))


def test_a_few_real_steps_give_times_on_a_machine_without_records(tmp_path: Path) -> None:
    of = planned(tmp_path, **{"base.data.resolution": 16, "base.batch_size": 12})

    page = told(of, with_timing=True)

    assert "Steps: real training on noise, on 1 CPU thread of this machine, by one of 2" in page
    assert "Start-up is left out: there are no records of earlier trials." in page
    assert re.search(r" a step, s( [0-9.e-]+ \([0-9.e-]+ to [0-9.e-]+\)){3} an epoch", page)
    assert list(tmp_path.iterdir()) == []


def test_earlier_trials_correct_what_was_timed(runs: Path) -> None:
    page = told(planned(runs), with_timing=True)

    assert re.search(r" an epoch [0-9:]+ 0:10 [0-9:]+ ", page)
    assert "which is what 12 epochs of earlier trials" in page


def test_gpus_that_are_not_here_are_not_timed(tmp_path: Path) -> None:
    of = planned(tmp_path, **{"resources.gpus_per_worker": 1})

    assert "No times: workers have GPUs, and this machine has none" in told(of, with_timing=True)


def test_a_check_takes_its_attacks_on_every_threat(tmp_path: Path) -> None:
    check = experiment(tmp_path).early_check
    unseen = with_overrides(check, {"unseen": [{"norm": "l2", "eps": 0.5}]})

    assert check_passes(check) == (25 + 21, 25 + 21 + 63)
    assert check_passes(unseen) == (25 + 2 * 21, 25 + 2 * (21 + 63))


def _base(page: str, what: str) -> str:
    return row(page, what)[1]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _seconds(clock: str) -> int:
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return total
