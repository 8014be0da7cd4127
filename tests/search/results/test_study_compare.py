from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from records_factory import experiment, record, search_folder
from rich.console import Console

from search.books.records import TrialRecord, write_record
from search.config import ExperimentConfig
from search.errors import UserError
from search.folder import SearchFolder
from search.overrides import with_overrides
from search.results.study_compare import (
    compare_studies,
    difference_interval,
    mean_of_best,
    moments_of,
    why_not_comparable,
)
from trainers.metrics import Accuracy

WORKERS = experiment(Path("/nowhere")).resources


def ended(number: int, at: float | None, **changes: Any) -> TrialRecord:
    return record(number, **changes).model_copy(update={"finished_at": at})


def written(root: Path, records: Sequence[TrialRecord]) -> SearchFolder:
    folder = search_folder(root)
    for trial in records:
        write_record(folder.record(trial.key), trial)
    return folder


@pytest.mark.parametrize(
    ("a", "b", "interval"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_the_interval_of_a_difference_is_newcombes(
    a: tuple[int, int], b: tuple[int, int], interval: tuple[float, float]
) -> None:
    # Newcombe 1998, Stat. Med. 17:873, table II, method 10.
    ours, theirs = (Accuracy(attack="aa", n=n, correct=right) for right, n in (a, b))

    assert difference_interval(ours, theirs) == pytest.approx(interval, abs=1e-4)


def test_what_was_spent_grows_in_the_order_in_which_trials_ended() -> None:
    # A completed trial holds 120 s + 6 s of checks + 6 or 7 s of start-up on two cores.
    records = [ended(0, 500.0), ended(1, 300.0), record(2, status="failed", epochs=0)]

    first, second = moments_of(records, WORKERS)

    assert first.device_hours * 3600 == pytest.approx(2 * 133)
    assert second.device_hours * 3600 == pytest.approx(2 * (133 + 132))
    assert [r.number for r in first.completed] == [1]


def test_a_paused_trial_counts_when_its_session_was_over_and_a_running_one_last() -> None:
    # The paused one began at 1000 and held its workers for 30 + 2 + 6 s; it never completes.
    paused = ended(0, None, status="paused", epochs=3)
    running = ended(1, None, status="running", epochs=3)
    late, early = ended(2, 1050.0), ended(3, 1030.0)

    moments = moments_of([running, late, paused, early], WORKERS)

    counts = [len(moment.completed) for moment in moments]
    assert counts == [1, 1, 2, 2]


def test_the_mean_of_the_best_needs_so_many_and_keeps_attack_and_n() -> None:
    records = [record(n, top=top) for n, top in enumerate((0.5, 0.4, 0.3))]
    robust = [check.robust for r in records if (check := r.last_check)]

    mean = mean_of_best(records, top=3)

    assert mean is not None
    assert mean.value == pytest.approx(sum(one.value for one in robust) / 3, abs=0.5 / 120)
    assert (mean.attack, mean.n) == (robust[0].attack, 120)
    assert mean_of_best(records, top=4) is None


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("early_check.images", 60, "early_check.images differs (120 and 60)"),
        ("early_check.t_steps", 5, "early_check.t_steps differs (10 and 5)"),
        ("base.data.select_images", 132, "data.select_images differs (120 and 132)"),
        ("base.data.seed", 1, "data.seed differs (5 and 1)"),
        ("base.threat.eps", "8/255", "threat differs"),
        ("resources.gpus_per_worker", 1, "the device differs (CPU and GPU)"),
    ],
)
def test_searches_whose_checks_differ_are_not_compared(
    path: str, value: object, named: str, tmp_path: Path
) -> None:
    a = experiment(tmp_path)

    assert named in why_not_comparable(a, with_overrides(a, {path: value}))


def test_searches_may_differ_in_strategy_and_schedule(tmp_path: Path) -> None:
    a = experiment(tmp_path)
    changes = {"sampler": {"name": "random", "seed": 0}, "budget.trials": 40, "ladder.rungs": [4]}

    b: ExperimentConfig = with_overrides(a, {**changes, "base.data.train_images": 480})

    assert why_not_comparable(a, b) == ""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchFolder, SearchFolder]:
    root = tmp_path_factory.mktemp("runs")
    last = ended(2, 300.0, top=0.6, params={"optim.weight_decay": 0.05})
    a = [ended(0, 100.0, top=0.2), ended(1, 200.0, status="stopped", epochs=3), last]
    b = [ended(0, 100.0, top=0.4), ended(1, 200.0, top=0.35)]
    return written(root / "a", a), written(root / "b", b)


@pytest.fixture(scope="module")
def page(folders: tuple[SearchFolder, SearchFolder]) -> list[str]:
    told = StringIO()
    Console(width=250, file=told).print(compare_studies(*folders))
    return told.getvalue().splitlines()


def test_the_page_compares_at_the_end_of_the_cheaper_search(page: list[str]) -> None:
    # B spent 2 * (132 + 133) core-seconds; by then A had completed its first trial only.
    row = next(line for line in page if line.startswith("best trial after 0.147 CPU-hours"))

    weak, strong = record(0, top=0.2).last_check, record(0, top=0.4).last_check
    assert weak is not None
    assert strong is not None
    difference = 100 * (weak.robust.value - strong.robust.value)
    low, high = difference_interval(weak.robust, strong.robust)
    assert f"{difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]" in row


def test_the_page_shows_the_best_at_the_end(page: list[str]) -> None:
    row = next(line for line in page if line.startswith("best trial at the end"))

    best = record(2, top=0.6).last_check
    assert best is not None
    assert f"{100 * best.robust.value:.1f} % [" in row
    assert any(line.split() == ["key", "t00002", "t00000"] for line in page)


def test_the_page_shows_survival_and_the_best_samples_side_by_side(page: list[str]) -> None:
    rows = [" ".join(line.split()) for line in page]

    assert "at epoch 3 3: 2 went on, 1 stopped 2: 2 went on" in rows
    assert "optim.weight_decay 0.05" in rows
    assert "optim.lr 0.001" in rows


def test_the_page_names_its_picture(
    page: list[str], folders: tuple[SearchFolder, SearchFolder]
) -> None:
    picture = folders[0].report / "against_photos.png"

    assert page[-1] == f"picture   {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_searches_of_other_tasks_are_refused_with_the_way_out(tmp_path: Path) -> None:
    first, second = written(tmp_path / "a", [record(0)]), written(tmp_path / "b", [record(0)])
    text = second.config.read_text().replace("t_steps: 10", "t_steps: 5")
    second.config.write_text(text)

    with pytest.raises(UserError, match=r"cannot be compared: early_check.t_steps .* full runs"):
        compare_studies(first, second)


def test_a_search_without_a_completed_trial_is_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "a", [record(0)])
    second = written(tmp_path / "b", [record(0, status="stopped", epochs=3)])

    with pytest.raises(UserError, match="no trial that was trained to its last epoch"):
        compare_studies(first, second)
