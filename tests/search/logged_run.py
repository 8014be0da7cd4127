"""Reports of a run, and a session that logs them."""

from collections.abc import Sequence
from pathlib import Path

from diagnosis_factory import DIAGNOSIS
from records_factory import check, progress, trial_config

from search.live.log_targets import LogTarget
from search.live.run_logs import run_logs
from trainers.metrics import EpochMetrics, Progress


def trained(epochs: int, *, repeated_from: int | None = None) -> Progress:
    """Returns a run with averaged weights; epochs from `repeated_from` on came out otherwise."""
    history: list[EpochMetrics] = []
    for metrics in progress(epochs).history:
        raw = None if metrics.check is None else check(50, 20)
        changes: dict[str, object] = {"raw_check": raw}
        if repeated_from is not None and metrics.epoch >= repeated_from:
            changes["train_loss"] = metrics.train_loss + 10
        history.append(metrics.model_copy(update=changes))
    return progress(0).model_copy(update={"history": tuple(history)})


def log_all(folder: Path, *reports: Progress, log_to: Sequence[LogTarget] = ()) -> None:
    """Logs the reports of one session."""
    with run_logs(trial_config(), folder, name="photos", diagnosis=DIAGNOSIS, log_to=log_to) as log:
        for report in reports:
            log(report)
