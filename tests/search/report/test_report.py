import re
from pathlib import Path
from typing import Any

import pytest
from diagnosis_factory import END, FLAG
from records_factory import (
    check,
    experiment,
    full_run,
    record,
    result,
    search_folder,
    write_promoted,
    write_search,
)

from search.books.records import read_promoted, write_record
from search.folder import SearchFolder
from search.report.report import write_report
from search.results.summary import cost_lines, headline
from trainers.metrics import wilson_interval


def sample(number: int) -> dict[str, Any]:
    """Returns a sample of the factory's space."""
    lr, name = 0.0003 * (number + 1), "apgd" if number % 2 else "pgd"
    return {"optim.lr": lr, "attack.name": name, "model.depths": [1, 1 + number % 2]}


def test_a_report_before_any_trial_says_what_is_missing(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)

    page = write_report(folder).read_text()

    assert "Nothing was promoted yet." in page
    assert "0 of 12 (none begun)" in page
    assert page.count("Not drawn:") == 6
    assert "Nothing was spent yet." in page
    assert not folder.study.exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    made = write_search(tmp_path_factory.mktemp("runs"))
    write_report(made)
    return made


@pytest.fixture(scope="module")
def page(folder: SearchFolder) -> str:
    return (folder.report / "index.html").read_text()


def test_the_headline_states_accuracy_and_difference(page: str) -> None:
    low, high = wilson_interval(96, 240)

    assert f"robust 40.0 % [{100 * low:.1f} %, {100 * high:.1f} %], autoattack-standard" in page
    assert "t00003 against the default, robust: +6.7 points" in page


def test_the_page_stands_alone_and_runs_no_script(page: str) -> None:
    sources = re.findall(r'src="([^"]{0,22})', page)

    assert set(sources) == {"data:image/png;base64,"}
    text = re.sub(r"base64,[^\"]+", "", page)  # an encoded picture may spell anything
    assert "<script" not in text
    assert "http" not in text


def test_the_page_lists_failures_and_the_commands_to_go_on(page: str) -> None:
    assert "non-finite loss, step 3" in page
    assert re.search(r"rampart promote \S+/photos --top 2", page)  # its folder is not in runs/
    assert re.search(r"rampart dashboard \S+/photos", page)


def test_texts_from_outside_are_escaped(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    evil = record(
        0, status="failed", epochs=0, reason="<script>alert(1)</script>", origin="<b>&</b>"
    )
    write_record(folder.record(evil.key), evil)

    page = write_report(folder).read_text()

    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_says_how_far_trials_can_be_trusted_and_what_became_of_them(page: str) -> None:
    # Of twelve trials one failed at once; three were stopped at epoch 3, one at 6; one is at 5.
    assert '<td class="short">epoch 3</td><td class="short">11</td>' in page
    assert '<td class="short">7 (64 %)</td>' in page
    assert "The order at epoch 3 against epoch 12: with n=6 trials at both nothing" in page
    assert "The order at epoch 12 against full run: with n=1 trials at both nothing" in page
    assert "the weak ones are missing" in page


def test_the_page_says_what_the_budget_went_into(page: str) -> None:
    # 6 completed trials of 120 s by two workers of one thread: 0.4 h.
    assert '<td class="short">completed trials</td><td class="short">0.4</td>' in page


def test_tables_and_pictures_are_written_beside_the_page(folder: SearchFolder) -> None:
    pictures = {path.name for path in folder.report.iterdir()} - {"importance_fanova.png"}
    tables = {path.name for path in folder.root.iterdir() if path.suffix in (".csv", ".parquet")}

    names = ("budget", "curves", "examples_t00003", "importance", "rungs", "scatter")
    assert pictures == {"index.html", *(f"{name}.png" for name in names)}
    kinds = ("trials", "rungs", "full_runs")
    assert tables == {f"{kind}.{suffix}" for kind in kinds for suffix in ("csv", "parquet")}


def test_the_page_lists_what_was_diagnosed_and_the_share_of_checks(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    why = "catastrophic overfitting: it fell"
    ended = record(0, status="diagnosed", epochs=6, reason=why, params=sample(0))
    flagged = record(1, params=sample(1)).model_copy(update={"diagnoses": (FLAG,)})
    for trial in (ended.model_copy(update={"diagnoses": (FLAG, END)}), flagged):
        write_record(folder.record(trial.key), trial)

    page = write_report(folder).read_text()

    grid = page[page.index("Diagnosed trials") : page.index("Failed trials")]
    assert grid.count(FLAG.reason) == 2
    assert grid.count(END.reason) == 1
    assert "1 completed, 1 diagnosed" in page
    assert '<td class="short">label leaking, catastrophic overfitting</td>' in page
    assert "5.0 %" in page  # 3 checks of 2 s in 120 s


def test_the_headline_names_the_flags_of_a_full_run_and_of_its_trial(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    flags = {"trial_diagnoses": (FLAG,), "diagnoses": (END,)}
    write_promoted(folder, full_run("t00003").model_copy(update=flags), None)

    lines = headline(read_promoted(folder.promoted))

    assert lines[-1] == (
        "t00003 is flagged: label leaking, catastrophic overfitting; its model card says why."
    )


def test_a_full_run_without_a_result_is_named_as_not_evaluated(tmp_path: Path) -> None:
    folder = search_folder(tmp_path)
    write_promoted(folder, full_run("default"), None)
    write_promoted(folder, full_run("t00003"), result(clean=150, robust=96))

    lines = headline(read_promoted(folder.promoted))

    assert lines[1:] == [
        "t00003 against the default: the default has no result yet.",
        "Default recipe: completed, 30 epochs, not evaluated yet.",
    ]


def test_costs_count_workers_and_the_share_of_checks(tmp_path: Path) -> None:
    records = [record(0), record(1, status="stopped", epochs=6)]

    lines = cost_lines(records, experiment(tmp_path))

    # 120 s + 60 s of training and 3 + 2 checks of 2 s, by two workers of one thread.
    assert lines == [
        "Trials: 2 of 12 (1 completed, 1 stopped).",
        "Training: 0.10 CPU-hours.",
        "Early checks: 0.01 CPU-hours, 5.3 % of training and checks; of the median trial, 5.8 % of "
        "its training.",
        "Racing: 0 of 5 checks ended early, which spared 0.0 % of their images.",
        "From a trial's start to its first training step: median 6.5 s, longest 7.0 s.",
    ]


def test_what_racing_spared_is_told(tmp_path: Path) -> None:
    whole, cut = record(0), record(1, status="stopped", epochs=3)
    assert cut.progress is not None
    *before, last = cut.progress.history
    missed = check(12, 3, n=30).model_copy(update={"missed": 0.3})
    history = (*before, last.model_copy(update={"check": missed}))
    cut = cut.model_copy(update={"progress": cut.progress.model_copy(update={"history": history})})

    lines = cost_lines([whole, cut], experiment(tmp_path))

    # 90 of four times 120 images.
    assert "Racing: 1 of 4 checks ended early, which spared 18.8 % of their images." in lines
