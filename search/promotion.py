"""Which trials become full runs."""

from collections.abc import Sequence

from search.errors import NothingToShowError, UserError
from search.records import TrialRecord


def select_for_promotion(
    records: Sequence[TrialRecord], *, top_k: int, min_clean_accuracy: float
) -> list[TrialRecord]:
    """Takes the `top_k` most robust completed trials above a floor of clean accuracy.

    Stopped trials were judged after fewer epochs and are not comparable. Ties go to the cheaper
    trial, then to the smaller number, so the answer does not depend on who finished first.

    Raises:
        UserError: If `top_k` is less than 1, or the trials were scored by different attacks.
        NothingToShowError: If no trial qualifies.
    """
    if top_k < 1:
        raise UserError(f"--top must be at least 1, got {top_k}")
    scored = [(r, r.last_check) for r in records if r.status == "completed"]
    eligible = [(r, c) for r, c in scored if c is not None and c.clean.value >= min_clean_accuracy]
    if not eligible:
        raise NothingToShowError(
            f"no trial to promote: {len(scored)} of {len(records)} completed, none with clean "
            f"accuracy of at least promotion.min_clean_accuracy = {min_clean_accuracy:g}"
        )
    attacks = {(c.robust.attack, c.robust.n) for _, c in eligible}
    if len(attacks) > 1:
        raise UserError(f"cannot rank robust accuracies of different attacks: {sorted(attacks)}")
    ranked = sorted(
        eligible, key=lambda rc: (-rc[1].robust.value, rc[0].train_seconds, rc[0].number)
    )
    return [record for record, _ in ranked[:top_k]]
