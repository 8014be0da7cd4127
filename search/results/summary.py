"""What a search cost and what it decided, as sentences: the pure part of the report."""

import statistics
from collections import Counter
from collections.abc import Sequence

from evaluation.paired import compare_paired
from evaluation.result import EvaluationResult
from search.books.diagnosing import names_text
from search.books.records import FullRun, Promoted, TrialRecord
from search.config import ExperimentConfig
from search.promotion.card import accuracy_text, difference_text, why_incomparable
from search.promotion.verdict import judge, verdict_lines
from search.results.budget_spent import device_name


def headline(promoted: Sequence[Promoted]) -> list[str]:
    """Returns the verdict, and each full run with its accuracies and the paired difference."""
    if not promoted:
        return ["Nothing was promoted yet."]
    verdict = judge(promoted)
    default = next((result for run, result in promoted if run.trial_number is None), None)
    lines = verdict_lines(verdict) if verdict else []
    for run, result in promoted:
        lines += _run_lines(run, result, default)
        if flags := (*run.trial_diagnoses, *run.diagnoses):
            lines.append(f"{run.key} is flagged: {names_text(flags)}; its model card says why.")
    return lines


def cost_lines(records: Sequence[TrialRecord], experiment: ExperimentConfig) -> list[str]:
    """Returns trials by status, device-hours of training and of checks, and start-up times."""
    counts = Counter(record.status for record in records)
    states = ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) or "none begun"
    train = sum(record.train_seconds for record in records)
    checks = sum(record.check_seconds for record in records)
    share = 100 * checks / (train + checks) if train + checks else 0.0
    shares = [100 * one for record in records if (one := record.check_share) is not None]
    median = statistics.median(shares) if shares else 0.0
    cap = f" of {experiment.budget.trials}" if experiment.budget.trials else ""
    return [
        f"Trials: {len(records)}{cap} ({states}).",
        f"Training: {_hours(train, experiment)}.",
        f"Early checks: {_hours(checks, experiment)}, {share:.1f} % of training and checks; "
        f"of the median trial, {median:.1f} % of its training.",
        _racing_line(records, images=experiment.early_check.images),
        _startup_line(records),
    ]


def _run_lines(
    run: FullRun, result: EvaluationResult | None, default: EvaluationResult | None
) -> list[str]:
    name = f"{run.key} ({run.origin})"
    if run.trial_number is None:
        name = f"Default recipe, repetition {run.repeat}" if run.repeat else "Default recipe"
    if result is None:
        why = f": {run.reason}" if run.reason else ""
        return [f"{name}: {run.status}{why}, {run.config.epochs} epochs, not evaluated yet."]
    lines = [
        f"{name}, {run.config.epochs} epochs: robust {accuracy_text(result.robust)}; "
        f"clean {accuracy_text(result.clean)} ({result.split} split)."
    ]
    if run.trial_number is None:
        return lines
    if default is None:
        return [*lines, f"{run.key} against the default: the default has no result yet."]
    if reason := why_incomparable(result, default):
        return [*lines, f"{run.key} against the default: not paired, {reason}."]
    robust = compare_paired(result.is_robust, default.is_robust)
    clean = compare_paired(result.is_clean_correct, default.is_clean_correct)
    return [
        *lines,
        f"{run.key} against the default, robust: {difference_text(robust)}.",
        f"{run.key} against the default, clean: {difference_text(clean)}.",
    ]


def _hours(seconds: float, experiment: ExperimentConfig) -> str:
    resources = experiment.resources
    return f"{seconds * resources.devices / 3600:.2f} {device_name(resources)}-hours"


def _racing_line(records: Sequence[TrialRecord], *, images: int) -> str:
    checks = [check for record in records for _, check in record.checks]
    spared = [images - check.robust.n for check in checks if check.missed is not None]
    share = 100 * sum(spared) / (images * len(checks)) if checks else 0.0
    return (
        f"Racing: {len(spared)} of {len(checks)} checks ended early, which spared {share:.1f} % of "
        "their images."
    )


def _startup_line(records: Sequence[TrialRecord]) -> str:
    startups = [record.startup_s for record in records if record.startup_s is not None]
    if not startups:
        return "From a trial's start to its first training step: no trial got there yet."
    return (
        "From a trial's start to its first training step: "
        f"median {statistics.median(startups):.1f} s, longest {max(startups):.1f} s."
    )
