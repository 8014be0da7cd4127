"""The model card of a full run: its numbers, where it comes from, what it is not good for.

Also the wording of accuracies and paired differences, which the report shares.
"""

from collections.abc import Sequence

import yaml

from evaluation.masking_report import MaskingReport
from evaluation.paired import PairedComparison, compare_paired
from evaluation.result import EvaluationResult
from search.books.diagnosing import diagnosis_text
from search.books.records import FullRun
from trainers.metrics import Accuracy
from trainers.threat import ThreatModel

LIMITS = """\
- Robust accuracy holds for this threat model, this attack and these images. Other norms, larger
  radii and natural shifts are not covered.
- Intervals hold the choice of test images, not the noise of training; where the verdict names
  several training seeds, its SE holds that, too.
- The select split ranked the trials. The test split chose nothing but the winner among the full
  runs of the verdict, so that the best of several looks a little better than it is.
- Not meant for decisions about people, nor for systems where safety or security depends on it."""


def model_card(
    run: FullRun,
    result: EvaluationResult,
    *,
    default: tuple[FullRun, EvaluationResult] | None,
    masking: MaskingReport | None,
    verdict: Sequence[str],
) -> str:
    """Returns the card as Markdown.

    Args:
        default: The untuned default recipe at the same budget; None if `run` is it, or if it has
            no result.
        masking: None if it was not looked for, as in runs of earlier versions.
        verdict: On all full runs of the search, in sentences; empty where there is nothing to
            compare.
    """
    config = yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False)
    sections = [
        f"# {run.study} / {run.key}",
        f"A classifier trained adversarially by Rampart, {_origin(run)}.",
        f"## Results\n\n{_results(result)}{_unmeasured(run)}",
        f"## Difference to the default recipe\n\n{_comparison(run, result, default)}",
        f"## Verdict on all full runs\n\n{_verdict(verdict)}",
        f"## Diagnoses\n\n{_diagnoses(run)}",
        f"## Signs of gradient masking\n\n{_masking(masking)}",
        f"## Lineage\n\n{_lineage(run, result)}",
        f"## Intended use and limits\n\n{_limit_of_data(run)}\n{LIMITS}",
        f"## Config\n\n```yaml\n{config}```",
    ]
    return "\n\n".join(sections) + "\n"


def _limit_of_data(run: FullRun) -> str:
    data = run.config.data
    if data.source == "photos":
        return (
            "- The embedded task is a demonstration: crops of twelve photographs. Its numbers say "
            "nothing about\n  ImageNet or about any other data."
        )
    return (
        f"- The numbers hold for the {data.num_classes} classes of its images at {data.resolution} "
        "pixels; other data, sizes\n  and crops are not covered."
    )


def accuracy_text(accuracy: Accuracy) -> str:
    """Returns for example `41.2 % [35.1 %, 47.5 %], autoattack-standard, n=240`."""
    low, high = accuracy.interval
    return (
        f"{accuracy.value:.1%} [{low:.1%}, {high:.1%}], {accuracy.attack}, n={accuracy.n}"
    ).replace("%", " %")


def difference_text(comparison: PairedComparison) -> str:
    """Returns the paired difference in percentage points, and whether it is resolved."""
    points = [100 * value for value in (comparison.difference, comparison.low, comparison.high)]
    is_resolved = comparison.low > 0 or comparison.high < 0
    verdict = "resolved at 95 %" if is_resolved else "not resolved: the interval includes 0"
    return (
        f"{points[0]:+.1f} points [{points[1]:+.1f}, {points[2]:+.1f}], n={comparison.n} paired "
        f"images, {comparison.only_a} right only here, {comparison.only_b} only in the default, "
        f"exact McNemar p={comparison.p_value:.2g}; {verdict}"
    )


def threat_text(threat: ThreatModel) -> str:
    """Returns the ball, with a linf radius in grey levels: `linf, eps = 4/255`."""
    eps = f"{threat.eps * 255:.4g}/255" if threat.norm == "linf" else f"{threat.eps:.4g}"
    return f"{threat.norm}, eps = {eps}"


def why_incomparable(result: EvaluationResult, other: EvaluationResult) -> str:
    """Returns why two results cannot be paired image by image; empty if they can."""
    for name in ("data_hash", "attack", "attack_package", "precision", "threat", "seed"):
        ours, theirs = getattr(result, name), getattr(other, name)
        if ours != theirs:
            return f"{name} differs ({ours} and {theirs})"
    return ""


def _origin(run: FullRun) -> str:
    if run.trial_number is None:
        return "the untuned default of the search, at the budget of the promoted runs"
    return f"promoted from trial {run.trial_number} ({run.origin}) of the search `{run.study}`"


def _results(result: EvaluationResult) -> str:
    order = ", then ".join(f"{name}: {count}" for name, count in result.broken_by.items())
    rows = {
        "clean accuracy": accuracy_text(result.clean),
        "robust accuracy": accuracy_text(result.robust),
        "attack": f"{result.attack} ({result.attack_package})",
        "threat": threat_text(result.threat),
        "images broken first by": order or "none",
        "largest perturbation": f"{result.largest_perturbation:.6f} ({result.threat.norm})",
        "split": result.split,
    }
    return f"{_table(rows)}\n\nIntervals are Wilson's, 95 %."


def _unmeasured(run: FullRun) -> str:
    also = [threat_text(threat) for threat in run.config.attack.also]
    return f" Trained also against {'; '.join(also)}: not measured here." if also else ""


def _comparison(
    run: FullRun, result: EvaluationResult, default: tuple[FullRun, EvaluationResult] | None
) -> str:
    if run.trial_number is None:
        return "None: this is the default recipe."
    if default is None:
        return "None: the default recipe has no result yet."
    other_run, other = default
    if reason := why_incomparable(result, other):
        return f"None: the two cannot be paired, {reason}."
    robust = compare_paired(result.is_robust, other.is_robust)
    clean = compare_paired(result.is_clean_correct, other.is_clean_correct)
    rows = {
        f"robust ({result.attack})": difference_text(robust),
        "clean": difference_text(clean),
        "default, robust": accuracy_text(other.robust),
        "default, clean": accuracy_text(other.clean),
        "epochs": f"{run.config.epochs} here, {other_run.config.epochs} in the default",
    }
    return _table(rows)


def _verdict(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {one}" for one in sentences) or "None: there is nothing to compare yet."


def _diagnoses(run: FullRun) -> str:
    lines = [f"- The trial: {diagnosis_text(one)}" for one in run.trial_diagnoses]
    lines += [f"- This run: {diagnosis_text(one)}" for one in run.diagnoses]
    return "\n".join(lines) or "None: no early check of the trial or of this run was flagged."


def _masking(report: MaskingReport | None) -> str:
    if report is None:
        return "They were not looked for; `rampart analyse CHECKPOINT masking` does."
    if report.signs:
        return "\n".join(f"- {sign.name}: {sign.reason}" for sign in report.signs)
    measured = report.measured
    attacks = ", ".join(
        f"{name} {outcome.accuracy.value:.1%}".replace("%", " %")
        for name, outcome in (
            ("APGD-CE", measured.apgd_ce),
            ("APGD-DLR", measured.apgd_dlr),
            ("then Square", measured.square),
        )
    )
    return f"None: attacks agree (n={measured.clean.accuracy.n}: {attacks}). That is no proof."


def _lineage(run: FullRun, result: EvaluationResult) -> str:
    trial = "none" if run.trial_number is None else f"{run.trial_number} ({run.recipe})"
    config = run.config
    rows = {
        "study": run.study,
        "trial": trial,
        "origin": run.origin,
        "parent": run.parent or "none",
        "config hash of the trial": run.trial_config_hash or "none",
        "config hash of this run": run.config_hash,
        "config hash of the evaluated checkpoint": result.config_hash,
        "commit": run.commit,
        "seeds": f"training {config.seed}, data {config.data.seed}, evaluation {result.seed}",
        "data hash": result.data_hash,
        "hash of the train images": run.progress.images if run.progress else "unknown",
        "model hash": result.model_hash,
        "versions": ", ".join(f"{name} {number}" for name, number in run.versions.items()),
        "hardware": run.hardware,
    }
    if run.progress:
        rows["size"] = f"{run.progress.params_m:.3g} M parameters, {run.progress.gmacs:.3g} GMACs"
        rows["weights to start from"] = run.progress.start
        rows["seconds of training"] = f"{run.progress.train_seconds:.0f}"
    return _table(rows)


def _table(rows: dict[str, str]) -> str:
    # A bar inside a cell would end it.
    cells = {name: text.replace("|", "\\|").replace("\n", " ") for name, text in rows.items()}
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in cells.items())]
    )
