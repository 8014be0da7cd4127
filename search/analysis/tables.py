"""The findings of an analysis as a short table for the terminal."""

from collections.abc import Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.analyses.convergence import ConvergenceFindings, ConvergenceResult
from evaluation.analyses.effectiveness import EffectivenessFindings, EffectivenessResult
from evaluation.analyses.eps_curve import EpsCurveFindings, EpsCurveResult
from evaluation.analyses.features import FeaturesFindings, FeaturesResult
from evaluation.analyses.gradients import GradientsFindings, GradientsResult
from evaluation.analyses.masking import MaskingFindings, MaskingResult
from evaluation.analyses.norms import NormsFindings, NormsResult
from evaluation.analyses.outcome import AnalysisResult
from evaluation.analyses.semantics import SemanticsFindings, SemanticsResult
from evaluation.analyses.transfer import TransferFindings, TransferResult
from search.promotion.card import threat_text
from trainers.metrics import Accuracy
from trainers.threat import ThreatModel

Rows = Sequence[Sequence[str]]
"""The first row names the columns."""


def analysis_table(result: AnalysisResult) -> RenderableType:
    """Returns the findings, and below them under which attack, of how many images they are.

    Signs of masking come first.
    """
    rows, notes = _rows(result)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    first = result.findings.verdict if isinstance(result, MaskingResult) else ()
    return Group(*map(Text, first), table, *map(Text, notes))


def _rows(result: AnalysisResult) -> tuple[Rows, Sequence[str]]:
    match result:
        case EpsCurveResult(findings=found):
            return _eps_curve(found, norm=result.config.norm)
        case NormsResult(findings=found):
            return _norms(found), [_what(found.union)]
        case EffectivenessResult(findings=found):
            return _effectiveness(found), [_under(result.config.threat, found.models[0].oracle)]
        case TransferResult(findings=found):
            own = found.rows[0].targets[found.rows[0].source]
            return _transfer(found), [_under(result.config.threat, own)]
        case SemanticsResult(findings=found):
            return _semantics(found), [_under(result.config.threat, found.judges[0].perturbation)]
        case MaskingResult(findings=found, config=config):
            return _masking(found, eps=config.threat.eps), [
                f"{threat_text(config.threat)}, n={found.clean.n}, 95 % intervals",
                *_masking_notes(found, passes=config.passes),
            ]
        case GradientsResult(findings=found):
            return _gradients(found), [_under(result.config.threat, found.robust)]
        case ConvergenceResult(findings=found, config=config):
            what = f"{config.points} points, {config.starts} random starts, losses in nats"
            return _convergence(found), [f"{threat_text(config.threat)}, {what}"]
        case FeaturesResult(findings=found, config=config):
            return _features(found), [f"{threat_text(config.threat)}, pgd{config.steps}"]
        case _:
            raise AssertionError(result.kind)


def _share(accuracy: Accuracy) -> str:
    """Returns an accuracy for a table whose note names the attack and n."""
    low, high = accuracy.interval
    return f"{accuracy.value:.1%} [{low:.1%}, {high:.1%}]".replace("%", " %")


def _what(accuracy: Accuracy) -> str:
    return f"{accuracy.attack}, n={accuracy.n}, 95 % intervals"


def _under(threat: ThreatModel, accuracy: Accuracy) -> str:
    return f"{threat_text(threat)}, {_what(accuracy)}"


def _eps_curve(
    found: EpsCurveFindings, *, norm: Literal["linf", "l2", "l1"]
) -> tuple[Rows, Sequence[str]]:
    rows = [("threat", "accuracy", "missed"), ("clean", _share(found.clean), "")]
    for point in found.points:
        threat = threat_text(ThreatModel(norm=norm, eps=point.eps))
        rows.append((threat, _share(point.robust), str(point.missed)))
    falls = "falls monotonically" if found.falls_monotonically else "does NOT fall monotonically"
    zero = "reaches 0" if found.reaches_zero else "does NOT reach 0: ask for larger eps"
    return rows, [
        _what(found.points[-1].robust if found.points else found.clean),
        f"by the attack of each eps alone it {falls}; the curve {zero}",
    ]


def _norms(found: NormsFindings) -> Rows:
    rows = [("threat", "accuracy"), ("clean", _share(found.clean))]
    rows += [(threat_text(row.threat), _share(row.robust)) for row in found.rows]
    return [*rows, ("all of them", _share(found.union))]


def _effectiveness(found: EffectivenessFindings) -> Rows:
    rows = [("checkpoint", "attack", "mean loss", "gap in %", "accuracy")]
    for model in found.models:
        for at in model.curve:
            gap = f"{at.gap:.2f} [{at.gap_low:.2f}, {at.gap_high:.2f}]"
            rows.append((model.model, at.robust.attack, f"{at.loss:.4g}", gap, _share(at.robust)))
        oracle = f"{model.oracle_loss:.4g}"
        rows.append((model.model, model.oracle.attack, oracle, "oracle", _share(model.oracle)))
    return rows


def _transfer(found: TransferFindings) -> Rows:
    rows = [("images of", "shown to", "accuracy")]
    rows += [("clean", name, _share(accuracy)) for name, accuracy in found.clean.items()]
    for row in found.rows:
        rows += [(row.source, name, _share(accuracy)) for name, accuracy in row.targets.items()]
    return rows


def _masking(found: MaskingFindings, *, eps: float) -> Rows:
    rows = [("attack", "eps", "accuracy"), ("clean", "", _share(found.clean))]
    rows += [(attacked.attack, "1 x", _share(attacked)) for attacked in found.attacks]
    for point in found.sweep:
        rows.append((point.robust.attack, f"{point.eps / eps:.4g} x", _share(point.robust)))
    return rows


def _masking_notes(found: MaskingFindings, *, passes: int) -> Sequence[str]:
    gradients = (found.ce_gradients, found.dlr_gradients)
    zero = ", ".join(f"{one.loss} {one.zero}" for one in gradients)
    non_finite = ", ".join(f"{one.loss} {one.non_finite}" for one in gradients)
    return [
        f"of {found.ce_gradients.n} correct images without gradient: {zero}; with one that is not "
        f"finite: {non_finite}",
        f"outputs from {found.lowest_output:.4g} to {found.highest_output:.4g}; predictions that "
        f"change in {passes} passes: {found.changed_predictions}",
    ]


def _semantics(found: SemanticsFindings) -> Rows:
    rows = [("judge", "of the images", "of the perturbations")]
    rows += [(one.judge, _share(one.clean), _share(one.perturbation)) for one in found.judges]
    return rows


def _gradients(found: GradientsFindings) -> Rows:
    zeros = f"{found.zeros:.2%}".replace("%", " %")
    return [
        ("clean", "attacked", "mean l2 norm of the gradient", "zeros in it"),
        (_share(found.clean), _share(found.robust), f"{found.l2_norm:.3g}", zeros),
    ]


def _convergence(found: ConvergenceFindings) -> Rows:
    rows = [("steps", "mean loss", "mean spread over starts", "largest spread")]
    for at in found.steps:
        mean = sum(at.spreads) / len(at.spreads)
        rows.append((str(at.steps), f"{at.mean:.4g}", f"{mean:.3g}", f"{max(at.spreads):.3g}"))
    return rows


def _features(found: FeaturesFindings) -> Rows:
    mean = sum(feature.probability for feature in found.features) / len(found.features)
    return [
        ("images", "taken for their class", "mean probability of it"),
        (str(len(found.features)), str(found.reached), f"{mean:.3g}"),
    ]
