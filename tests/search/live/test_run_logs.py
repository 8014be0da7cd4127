"""The numbers of a run stand in its tables and in TensorBoard once, however often reported."""

import struct
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from diagnosis_factory import DIAGNOSIS
from logged_run import log_all, trained
from records_factory import ATTACK, check, trial_config
from repository import ROOT

from search.live.log_targets import numbers
from search.live.run_logs import COLUMNS, SIZES, metrics_frame, run_logs
from search.overrides import value_at
from trainers.metrics import Accuracy, Check, EpochMetrics, Probe, wilson_interval

ROBUST = f"robust_accuracy/{ATTACK}/n120"


def epoch_of(row: dict[str, Any]) -> EpochMetrics:
    """Returns the epoch that a row of the table tells of."""

    def accuracy(prefix: str) -> Accuracy:
        n = int(row[f"{prefix}_n"])
        correct = round(n * row[f"{prefix}_accuracy"])
        return Accuracy(attack=row[f"{prefix}_attack"], n=n, correct=correct)

    def find_check(raw: str) -> Check:
        return Check(
            clean=accuracy(f"{raw}clean"),
            robust=accuracy(f"{raw}robust"),
            probe=Probe(
                pgd1=accuracy(f"{raw}pgd1"),
                pgd10=accuracy(f"{raw}pgd10"),
                **{name: row[f"{raw}{name}"] for name in SIZES},
            ),
            seconds=row[f"{raw}check_seconds"],
        )

    names = ("epoch", "train_loss", "train_accuracy", "lr", "eps", "seconds")
    plain = {name: row[name] for name in names}
    return EpochMetrics(**plain, check=find_check(""), raw_check=find_check("raw_"))


def written(folder: Path) -> dict[Path, tuple[int, int]]:
    """Returns when each file was written, and which file it is."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in found.items()}


def events(folder: Path) -> Iterator[Any]:
    """Yields the events of all files, oldest file first: length, its CRC, the event, its CRC."""
    event = import_module("tensorboardX.proto.event_pb2").Event
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            yield event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4


class Point(NamedTuple):
    """What TensorBoard shows."""

    epoch: int
    value: float
    time: float


def points(folder: Path, tag: str) -> list[Point]:
    """Returns what TensorBoard shows of a tag: a start purges all from its step on."""
    found: list[Point] = []
    for event in events(folder):
        if event.session_log.status == event.session_log.START:
            found = [point for point in found if point.epoch < event.step]
        values = [value.simple_value for value in event.summary.value if value.tag == tag]
        found += [Point(event.step, value, event.wall_time) for value in values]
    return found


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_last_row_equals_the_last_epoch_reported(tmp_path: Path, suffix: str) -> None:
    report = trained(6)

    log_all(tmp_path, trained(5), report)

    path = tmp_path / f"metrics.{suffix}"
    frame = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert frame["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert epoch_of(frame.to_dict("records")[-1]) == report.history[-1]


def test_an_accuracy_of_the_table_has_its_attack_its_n_and_wilsons_interval() -> None:
    row = metrics_frame(trained(3).history, {}).iloc[-1]

    assert (row["raw_robust_attack"], row["raw_robust_n"]) == (ATTACK, 120)
    assert row["raw_robust_accuracy"] == 20 / 120
    assert (row["raw_robust_low"], row["raw_robust_high"]) == wilson_interval(20, 120)


def test_an_epoch_without_a_check_has_no_accuracy() -> None:
    row = metrics_frame(trained(2).history, {}).iloc[-1]

    assert row["train_accuracy"] >= 0
    for name in ("clean_accuracy", "robust_accuracy", "robust_n", "raw_robust_attack"):
        assert row[name] is pd.NA


def test_a_diagnosis_stands_beside_the_epoch_it_was_found_at(tmp_path: Path) -> None:
    run = trained(6)
    history = list(run.history)
    history[-1] = history[-1].model_copy(update={"check": check(60, 0)})

    log_all(tmp_path, run.model_copy(update={"history": tuple(history)}))

    told = pd.read_parquet(tmp_path / "metrics.parquet")["diagnoses"]
    assert told.isna().tolist() == [True] * 5 + [False]
    assert told.iloc[-1] == "catastrophic overfitting"


def test_a_run_without_an_epoch_has_the_columns_of_a_full_one(tmp_path: Path) -> None:
    log_all(tmp_path, trained(0))

    kinds = pd.read_parquet(tmp_path / "metrics.parquet").dtypes
    assert {name: str(kind) for name, kind in kinds.items()} == COLUMNS
    assert (tmp_path / "metrics.csv").read_text().strip() == ",".join(COLUMNS)


def test_the_table_follows_a_history_that_became_shorter(tmp_path: Path) -> None:
    log_all(tmp_path, trained(6), trained(4))

    assert pd.read_csv(tmp_path / "metrics.csv")["epoch"].tolist() == [1, 2, 3, 4]


def test_a_report_that_is_told_again_writes_nothing(tmp_path: Path) -> None:
    with run_logs(
        trial_config(), tmp_path, name="photos", diagnosis=DIAGNOSIS, log_to=["tensorboard"]
    ) as log:
        log(trained(3))
        before = written(tmp_path)
        log(trained(3))

        assert written(tmp_path) == before


def test_tensorboard_shows_the_numbers_by_epoch_while_the_run_goes_on(tmp_path: Path) -> None:
    with run_logs(
        trial_config(), tmp_path, name="photos", diagnosis=DIAGNOSIS, log_to=["tensorboard"]
    ) as log:
        log(trained(2))
        log(trained(6))

        for tag in numbers(trained(6).history[-1]):
            told = [(m.epoch, numbers(m)[tag]) for m in trained(6).history if tag in numbers(m)]
            shown = points(tmp_path, tag)
            assert [point.epoch for point in shown] == [epoch for epoch, _ in told], tag
            assert [point.value for point in shown] == pytest.approx([v for _, v in told]), tag


def test_tensorboard_shows_no_epoch_twice_after_a_return_to_an_older_checkpoint(
    tmp_path: Path,
) -> None:
    again = trained(8, repeated_from=5)

    log_all(tmp_path, trained(7), trained(4), again, log_to=["tensorboard"])

    shown = points(tmp_path, "train_loss")
    assert [point.epoch for point in shown] == [1, 2, 3, 4, 5, 6, 7, 8]
    told = [metrics.train_loss for metrics in again.history]
    assert [point.value for point in shown] == pytest.approx(told)


def test_tensorboard_forgets_a_check_that_a_shorter_history_does_not_have(tmp_path: Path) -> None:
    log_all(tmp_path, trained(6), trained(4), log_to=["tensorboard"])

    assert [point.epoch for point in points(tmp_path, ROBUST)] == [3]


def test_tensorboard_shows_no_epoch_twice_in_a_later_session(tmp_path: Path) -> None:
    log_all(tmp_path, trained(7), log_to=["tensorboard"])
    log_all(tmp_path, trained(4), trained(5, repeated_from=5), log_to=["tensorboard"])

    assert [point.epoch for point in points(tmp_path, "train_loss")] == [1, 2, 3, 4, 5]


def test_the_time_between_points_of_tensorboard_is_that_of_training_and_checks(
    tmp_path: Path,
) -> None:
    log_all(tmp_path, trained(2), trained(4), log_to=["tensorboard"])

    times = [point.time for point in points(tmp_path, "train_loss")]
    # Ten seconds an epoch; the third has two checks of two seconds.
    steps = [late - early for early, late in pairwise(times)]
    assert steps == pytest.approx([10, 14, 10], abs=1e-3)


def test_the_hyperparameters_of_tensorboard_are_the_config_by_dotted_paths(tmp_path: Path) -> None:
    log_all(tmp_path, trained(1), log_to=["tensorboard"])

    plugin = import_module("tensorboardX.proto.plugin_hparams_pb2").HParamsPluginData
    metadata = [v.metadata.plugin_data for e in events(tmp_path) for v in e.summary.value]
    (start,) = [plugin.FromString(m.content) for m in metadata if m.plugin_name == "hparams"]
    told = start.session_start_info.hparams
    assert told["optim.lr"].number_value == value_at(trial_config(), "optim.lr")
    assert told["attack.name"].string_value == "pgd"
    assert told["model.depths"].string_value == "[1, 1]"
    assert "optim" not in told


def test_a_driver_that_writes_for_tensorboard_is_free_of_torch(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys, search.live.run_logs
from search.live.event_file import event_file
with event_file(pathlib.Path({str(tmp_path)!r}), {{}}) as append:
    append([(1, 0.0, {{"train_loss": 2.0}})])
sys.exit("torch" in sys.modules)
"""

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
