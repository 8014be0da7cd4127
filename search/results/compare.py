"""`rampart compare`: two evaluations of the same images, and whether they differ by luck."""

from pathlib import Path

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.paired import compare_paired
from evaluation.result import EvaluationResult
from search.errors import UserError
from search.promotion.card import accuracy_text, threat_text, why_incomparable

FILE = "result.json"


def compare_page(first: Path, second: Path) -> RenderableType:
    """Returns what two results have in common and a row for each accuracy.

    Args:
        first, second: A result.json, or the folder that holds one.

    Raises:
        UserError: If one is missing or no result, or they are not about the same images, threat
            and attack.
    """
    a, b = _read(first), _read(second)
    if reason := why_incomparable(a, b):
        raise UserError(
            f"{first} and {second} cannot be compared image by image: {reason}; evaluate both with "
            "the same settings"
        )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "A", "B", "A - B, paired", "only A right", "only B right", "McNemar p"):
        table.add_column(name, overflow="fold")
    for name, ours, theirs in (
        ("clean", a.is_clean_correct, b.is_clean_correct),
        ("robust", a.is_robust, b.is_robust),
    ):
        accuracies = (accuracy_text(getattr(result, name)) for result in (a, b))
        paired = compare_paired(ours, theirs)
        points = [100 * value for value in (paired.difference, paired.low, paired.high)]
        difference = f"{points[0]:+.1f} points [{points[1]:+.1f}, {points[2]:+.1f}]"
        counts = (str(paired.only_a), str(paired.only_b), f"{paired.p_value:.2g}")
        table.add_row(*map(Text, (name, *accuracies, difference, *counts)))
    what = f"{threat_text(a.threat)}, {a.attack_package}, images {a.data_hash}, 95 % intervals"
    return Group(Text(f"A: {first}"), Text(f"B: {second}"), Text(what), table)


def _read(path: Path) -> EvaluationResult:
    file = path / FILE if path.is_dir() else path
    try:
        return EvaluationResult.model_validate_json(file.read_text())
    except OSError as error:
        raise UserError(
            f"no result at {path}: expected {FILE} or the folder that holds it, such as "
            f"runs/NAME/promoted/KEY ({error.strerror})"
        ) from error
    except (UnicodeDecodeError, ValidationError) as error:
        raise UserError(
            f"{file} is not the result of an evaluation; take the {FILE} that `rampart evaluate` "
            "or a full run wrote"
        ) from error
