"""From a trial to what became of it: `trials/KEY/promoted.json`, the way back from a full run."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluation.result import EvaluationResult
from models.config import Config
from search.books.records import FullRun, Promoted, Status, read_promoted
from search.folder import SearchFolder
from search.promotion.verdict import Verdict
from trainers.atomic import write_atomically
from trainers.metrics import Accuracy


class PromotedRun(Config):
    """A full run of a trial, or a stage before it, and what it reached."""

    folder: str
    """Within the search's."""
    stage: int | None
    seed: int
    """Of its training."""
    epochs: int
    config_hash: str
    status: Status
    reason: str
    clean: Accuracy | None
    robust: Accuracy | None
    """Both by the reference attack on the test split; of a stage by its early check, on the select
    split."""


class Promotions(Config):
    """All that became of a trial."""

    trial: str
    """Its key."""
    is_winner: bool
    """Whether the verdict on all full runs names it."""
    runs: tuple[PromotedRun, ...]
    """Stages first, in their order."""


def read_stages(folder: SearchFolder) -> list[Promoted]:
    """Returns the runs of all stages before the full runs, by stage and key."""
    paths = sorted((folder.promoted / "stages").glob("*/"), key=lambda path: int(path.name))
    return [pair for path in paths for pair in read_promoted(path)]


def write_lineage(
    folder: SearchFolder, promoted: Sequence[Promoted], verdict: Verdict | None
) -> None:
    """Writes `promoted.json` into the folder of every trial that was promoted.

    Args:
        promoted: The stages, then the full runs.
    """
    winner = verdict.winner if verdict else ""
    for recipe, pairs in _by_trial(promoted).items():
        found = Promotions(
            trial=recipe,
            is_winner=recipe == winner,
            runs=tuple(_promoted_run(run, result) for run, result in pairs),
        )
        write_atomically(_path(folder, recipe), found.model_dump_json(indent=1))


def read_lineage(folder: SearchFolder, key: str) -> Promotions | None:
    """Returns what became of a trial; None if it was never promoted."""
    path = _path(folder, key)
    return Promotions.model_validate_json(path.read_text()) if path.exists() else None


def _path(folder: SearchFolder, key: str) -> Path:
    return folder.record(key).with_name("promoted.json")


def _by_trial(promoted: Iterable[Promoted]) -> dict[str, list[Promoted]]:
    found: dict[str, list[Promoted]] = {}
    for run, result in promoted:
        if run.trial_number is not None:
            found.setdefault(run.recipe, []).append((run, result))
    return found


def _promoted_run(run: FullRun, result: EvaluationResult | None) -> PromotedRun:
    stage = "" if run.stage is None else f"stages/{run.stage}/"
    seen = result if run.stage is None else run.last_check
    return PromotedRun(
        folder=f"promoted/{stage}{run.key}",
        stage=run.stage,
        seed=run.config.seed,
        epochs=run.config.epochs,
        config_hash=run.config_hash,
        status=run.status,
        reason=run.reason,
        clean=seen.clean if seen else None,
        robust=seen.robust if seen else None,
    )
