"""What happened to a trial, a line for each thing: what a search says where no table is drawn."""

from collections.abc import Sequence

from evaluation.diagnoses import Diagnosis
from search.books.diagnosing import diagnosis_text, new_among
from search.books.records import TrialRecord
from trainers.metrics import EpochMetrics


def new_events(before: TrialRecord | None, after: TrialRecord) -> list[str]:
    """Returns a line for each thing that happened to a trial between two of its records."""
    events: list[str] = []
    if before is None:
        events.append(f"{after.key} started: {after.origin}, {after.config.epochs} epochs")
    elif after.sessions > before.sessions > 0:
        events.append(f"{after.key} resumed: session {after.sessions}, epoch {after.epochs}")
    known = 0
    if before and before.progress and len(before.below) == len(after.below):
        known = before.progress.history[-1].epoch if before.progress.history else 0
    told = before.progress.events if before and before.progress else ()
    history = after.progress.history if after.progress else ()
    if after.progress:
        events += [f"{after.key}: {event}" for event in after.progress.events if event not in told]
    for epoch in history:
        if epoch.epoch > known:
            events += _epoch_events(after, epoch)
    events += _flag_events(after, before.diagnoses if before else ())
    if after.status != "running" and (before is None or before.status == "running"):
        events.append(_end_event(after))
    return events


def first_line(text: str) -> str:
    """Returns what a message says before it goes into details."""
    return text.strip().partition("\n")[0]


def _epoch_events(record: TrialRecord, epoch: EpochMetrics) -> list[str]:
    at = record.epochs_before + epoch.epoch
    events = [
        f"{record.key} epoch {at}/{record.config.epochs} loss={epoch.train_loss:.3f} "
        f"train_acc={epoch.train_accuracy:.3f} lr={epoch.lr:.3g} eps={epoch.eps:.4f}"
    ]
    if epoch.check:
        clean, robust = epoch.check.clean, epoch.check.robust
        low, high = robust.interval
        events.append(
            f"{record.key} rung {at}: robust {robust.value:.3f} [{low:.3f}, {high:.3f}] "
            f"({robust.attack}, n={robust.n}), clean {clean.value:.3f}"
        )
    return events


def _flag_events(record: TrialRecord, told: Sequence[Diagnosis]) -> list[str]:
    """Returns a line for each new flag; what ends the trial is the reason of its end."""
    return [
        f"{record.key} flagged: {diagnosis_text(one)}"
        for one in new_among(record.diagnoses, told)
        if not one.ends_trial
    ]


def _end_event(record: TrialRecord) -> str:
    why = f": {first_line(record.reason)}" if record.reason else ""
    return f"{record.key} {record.status}{why} (epoch {record.epochs}/{record.config.epochs})"
