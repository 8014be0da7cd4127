"""Which trials become full runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.books.observing import seconds_of
from search.books.records import FullRun, TrialRecord
from search.errors import NothingToShowError, UserError, did_you_mean
from search.promotion.config import PromotionConfig
from search.promotion.rules import Candidate, order_by_rule
from search.space.constraints import training_gmacs
from search.strategy.config import LOWER_IS_BETTER, Objective
from trainers.metrics import Check


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Trials that are promoted, best first."""

    records: tuple[TrialRecord, ...]
    words: str
    """A sentence: who, by what rule and numbers, among whom."""


def select_for_promotion(
    records: Sequence[TrialRecord], promotion: PromotionConfig, *, cost: Objective
) -> Selection:
    """Chooses among the completed trials above the floor of clean accuracy.

    A trial that ended on the way was judged after fewer epochs and is not comparable. Only where no
    trial completed are those compared that were checked at the highest rung that any reached.

    Raises:
        UserError: If the trials were scored by different attacks.
        NothingToShowError: If no trial qualifies.
    """
    pool, where = _comparable(records)
    eligible = [(r, c) for r, c in pool if c.clean.value >= promotion.min_clean_accuracy]
    if not eligible:
        raise NothingToShowError(
            f"no trial to promote: {len(pool)} of {len(records)} {where}, none with clean accuracy "
            f"of at least promotion.min_clean_accuracy = {promotion.min_clean_accuracy:g}"
        )
    _require_one_attack([check for _, check in eligible])
    candidates = [Candidate(record=r, robust=c.robust, cost=_cost(r, cost)) for r, c in eligible]
    chosen = order_by_rule(candidates, promotion.rule)[: promotion.top_k]
    robust = eligible[0][1].robust
    return Selection(
        records=tuple(one.record for one in chosen),
        words=(
            f"promoting {', '.join(one.record.key for one in chosen)} by rule {promotion.rule} "
            f"({robust.attack}, n={robust.n}, cost: {cost}), among {len(eligible)} of "
            f"{len(records)} trials: {where}, clean accuracy at least "
            f"{promotion.min_clean_accuracy:g}"
        ),
    )


def select_by_number(records: Sequence[TrialRecord], numbers: Sequence[int]) -> Selection:
    """Takes exactly the trials that a user names, in that order.

    Raises:
        UserError: If there is no such trial.
    """
    known = {record.number: record for record in records}
    unknown = [str(number) for number in numbers if number not in known]
    if unknown:
        hint = did_you_mean(unknown[0], [str(number) for number in known])
        raise UserError(
            f"there is no trial {', '.join(unknown)}{hint}; `rampart status NAME` lists them"
        )
    chosen = tuple(known[number] for number in dict.fromkeys(numbers))
    return Selection(
        records=chosen, words=f"promoting {', '.join(one.key for one in chosen)}, as asked for"
    )


def select_at_stage(runs: Sequence[FullRun], *, keep: int) -> list[FullRun]:
    """Returns the `keep` most robust runs by their last early check, on the select split.

    A run that failed, or was not checked, does not go on. Ties go to the cheaper one.

    Raises:
        UserError: If they were scored by different attacks.
    """
    checked = [(r, c) for r in runs if r.status == "completed" and (c := r.last_check) is not None]
    _require_one_attack([check for _, check in checked])
    ranked = sorted(checked, key=lambda rc: (-rc[1].robust.value, rc[0].train_seconds, rc[0].key))
    return [run for run, _ in ranked[:keep]]


def cost_among(objectives: Sequence[Objective]) -> Objective:
    """Returns the first objective that is a cost, or else the seconds of training."""
    costs: list[Objective] = [name for name in objectives if name in LOWER_IS_BETTER]
    return costs[0] if costs else "seconds"


def _comparable(records: Sequence[TrialRecord]) -> tuple[list[tuple[TrialRecord, Check]], str]:
    """Returns the trials with the check that they are compared by, and what they have in common."""
    completed = [(r, c) for r in records if r.status == "completed" and (c := r.last_check)]
    if completed:
        return completed, "completed"
    alive = [record for record in records if record.status not in ("failed", "diagnosed")]
    reached = max((epoch for record in alive for epoch, _ in record.checks), default=None)
    if reached is None:
        return [], "completed"
    # A check that ended early saw other images, and its trial was surely out of the running.
    at_rung = [
        (record, check)
        for record in alive
        for epoch, check in record.checks
        if epoch == reached and check.missed is None
    ]
    return at_rung, f"checked at epoch {reached}, the highest rung that any reached"


def _require_one_attack(checks: Sequence[Check]) -> None:
    attacks = {(check.robust.attack, check.robust.n) for check in checks}
    if len(attacks) > 1:
        raise UserError(f"cannot rank robust accuracies of different attacks: {sorted(attacks)}")


def _cost(record: TrialRecord, name: Objective) -> float:
    """Returns what a checked trial costs; `seconds` are those to its last epoch, at its pace."""
    progress = [progress for _, progress in record.trainings if progress.history][-1]
    match name:
        case "params_m":
            return progress.params_m
        case "gmacs":
            return progress.gmacs
        case "train_gmacs":
            return training_gmacs(progress.gmacs, record.config.attack)
        case _:
            return seconds_of(record)
