"""The numbers of one run, epoch by epoch, as tables and wherever else a user follows it.

`metrics.csv` and `metrics.parquet` hold a row per epoch, with the check of its rung if it is one;
`raw_` says that it is of the raw weights, beside the averaged ones. Light: no torch.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from evaluation.diagnoses import Diagnosis
from evaluation.diagnosis_config import DiagnosisConfig
from search.books.diagnosing import Diagnoses, diagnose_history, names_text
from search.live.log_targets import OPENERS, LoggedRun, LogTarget
from search.results.frame import accuracy_cells, accuracy_columns, typed_frame, write_frame
from trainers.config import TrialConfig
from trainers.metrics import EpochMetrics, Probe, Progress

SIZES = ("loss_gain", "zero_gradients", "delta_over_eps")
"""Of PGD-1, in a `Probe`."""


def _check_columns(prefix: str) -> dict[str, str]:
    return {
        **accuracy_columns(f"{prefix}clean"),
        **accuracy_columns(f"{prefix}robust"),
        **accuracy_columns(f"{prefix}pgd1"),
        **accuracy_columns(f"{prefix}pgd10"),
        **{f"{prefix}{name}": "Float64" for name in (*SIZES, "check_seconds")},
    }


COLUMNS = {
    "epoch": "Int64",
    "train_loss": "Float64",
    "train_accuracy": "Float64",
    "lr": "Float64",
    "eps": "Float64",
    "seconds": "Float64",
    **_check_columns(""),
    "diagnoses": "string",
    **_check_columns("raw_"),
}
"""Every column with its pandas type; all are nullable."""


@contextmanager
def run_logs(
    config: TrialConfig,
    folder: Path,
    *,
    name: str,
    diagnosis: DiagnosisConfig,
    log_to: Sequence[LogTarget],
) -> Generator[Callable[[Progress], None]]:
    """Gives a function that logs what is known of a run; it may be told the same again.

    Args:
        config: The hyperparameters.
        folder: The run's own, absolute; what lies there is gone on with.
        name: Under which W&B and MLflow list the run.
        diagnosis: What the tables name beside the epoch it was found at.
        log_to: Beside the tables, which are always written.

    Raises:
        ValueError: If W&B or MLflow refuses.
    """
    run = LoggedRun(name=name, config=config, folder=folder)
    logged: tuple[EpochMetrics, ...] | None = None
    with ExitStack() as stack:
        tells = [
            stack.enter_context(OPENERS[target](run)) for target in OPENERS if target in log_to
        ]

        def log(progress: Progress) -> None:
            nonlocal logged
            if progress.history == logged:
                return
            found = diagnose_history(config, progress.history, diagnosis)
            frame = metrics_frame(progress.history, found)
            write_frame(frame, csv=folder / "metrics.csv", parquet=folder / "metrics.parquet")
            for tell in tells:
                tell(progress.history)
            logged = progress.history

        yield log


def metrics_frame(history: Sequence[EpochMetrics], found: Diagnoses) -> pd.DataFrame:
    """Returns a row per epoch."""
    rows = [_row(metrics) | _diagnosis_cell(found.get(metrics.epoch, ())) for metrics in history]
    return typed_frame(rows, COLUMNS)


def _diagnosis_cell(diagnoses: Sequence[Diagnosis]) -> dict[str, object]:
    return {"diagnoses": names_text(diagnoses)} if diagnoses else {}


def _row(metrics: EpochMetrics) -> dict[str, object]:
    row: dict[str, object] = metrics.model_dump(exclude={"check", "raw_check"})
    for prefix, check in (("", metrics.check), ("raw_", metrics.raw_check)):
        if check is not None:
            row |= accuracy_cells(f"{prefix}clean", check.clean)
            row |= accuracy_cells(f"{prefix}robust", check.robust)
            row |= _probe_cells(prefix, check.probe) if check.probe else {}
            row |= {f"{prefix}check_seconds": check.seconds}
    return row


def _probe_cells(prefix: str, probe: Probe) -> dict[str, object]:
    return {
        **accuracy_cells(f"{prefix}pgd1", probe.pgd1),
        **accuracy_cells(f"{prefix}pgd10", probe.pgd10),
        **{f"{prefix}{name}": getattr(probe, name) for name in SIZES},
    }
