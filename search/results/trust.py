"""How far trials can be trusted: what became of them at rungs, and whether rungs order them alike.

Agreement is Kendall's tau-b (Kendall 1945, Biometrika 33:239) between the robust accuracies of the
same trials at two fidelities. Only what a rung let go on has a later value, so the weak trials are
missing, and tau is about those that went on, not about all: of simulated normal pairs with tau 0.6,
the upper half by the lower fidelity shows 0.42, the upper quarter 0.36.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from search.books.records import Promoted, TrialRecord
from search.config import ExperimentConfig
from search.results.rung_tables import fate_at

MIN_PAIRS = 8
"""Trials at both fidelities below which nothing is said. From so many on the bootstrap interval
held the truth in 92 to 98 % of simulated normal samples with tau 0.3, 0.6 and 0.8; with 5 trials in
65 to 93 %."""
RESAMPLES = 2000
FULL_RUN = "full run"
FATES = ("went on", "completed", "running", "paused", "stopped", "diagnosed", "failed")

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What became of the trials that were checked at a rung."""

    epoch: int
    """0: all trials that began."""
    fates: Mapping[str, int]
    """Of `FATES`, how many; see `fate_at`."""

    @property
    def reached(self) -> int:
        """Trials that were checked there."""
        return sum(self.fates.values())


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike two fidelities order the trials that have been at both."""

    lower: str
    upper: str
    n: int
    tau: float | None
    """Kendall's tau-b, None where all trials tie at one of the two."""
    interval: tuple[float, float] | None
    """95 %, bootstrap over trials (percentiles); None below `MIN_PAIRS`."""


def all_rungs(experiment: ExperimentConfig) -> list[int]:
    """Returns the epochs at which trials are checked, the last epoch included."""
    return [*experiment.ladder.rungs, experiment.base.epochs]


def rung_survival(records: Sequence[TrialRecord], *, rungs: Sequence[int]) -> list[Passage]:
    """Returns what became of the trials from their beginning on, and at each rung.

    Args:
        rungs: Epochs, rising, the last epoch included.
    """
    reached = [(0, list(records))]
    reached += [(rung, [r for r in records if rung in dict(r.own_checks)]) for rung in rungs]
    return [
        Passage(epoch=epoch, fates=Counter(fate_at(record, epoch) for record in there))
        for epoch, there in reached
    ]


def agreements(
    records: Sequence[TrialRecord], promoted: Sequence[Promoted], *, rungs: Sequence[int]
) -> list[Agreement]:
    """Returns the agreement of each pair of rungs, then of each rung with the full runs.

    Full runs of one trial with several seeds count as one, with their mean.

    Args:
        rungs: Epochs, rising, the last epoch included.
    """
    shown = {
        f"epoch {rung}": {
            r.number: check.robust.value for r in records for e, check in r.own_checks if e == rung
        }
        for rung in rungs
    }
    shown[FULL_RUN] = _full_values(promoted)
    return [
        _agreement(lower, upper, shown[lower], shown[upper])
        for lower, upper in sorted(combinations(shown, 2), key=lambda pair: pair[1] == FULL_RUN)
    ]


def trust_lines(
    records: Sequence[TrialRecord], promoted: Sequence[Promoted], *, rungs: Sequence[int]
) -> list[str]:
    """Returns as sentences how far the order of the trials can be trusted.

    Args:
        rungs: Epochs, rising, the last epoch included.
    """
    last = f"epoch {rungs[-1]}"
    lines = [
        _sentence(one)
        for one in agreements(records, promoted, rungs=rungs)
        if one.upper == last or (one.upper == FULL_RUN and (one.lower == last or one.interval))
    ]
    if len(rungs) > 1:
        lines.append(
            "Only trials that a rung let go on have later values, so the weak ones are missing: "
            "tau is about those that went on, and over all trials it would be higher as a rule."
        )
    return lines


def kendall_tau(a: Vector, b: Vector, weights: Matrix) -> Vector:
    """Returns tau-b of `a` and `b` for each row of `weights`, how often each trial counts.

    A trial beside itself is a tie in both and counts nothing. NaN where all tie in one of the two.
    """
    signs_a, signs_b = (np.sign(v[:, None] - v[None, :]) for v in (a, b))

    def total(signs: Matrix) -> Vector:
        return ((weights @ signs) * weights).sum(axis=1)

    scale = np.sqrt(total(signs_a**2) * total(signs_b**2))
    known = scale > 0
    return np.where(known, total(signs_a * signs_b) / np.where(known, scale, 1), np.nan)


def _full_values(promoted: Sequence[Promoted]) -> dict[int, float]:
    values: dict[int, list[float]] = {}
    for run, result in promoted:
        if run.trial_number is not None and result is not None:
            values.setdefault(run.trial_number, []).append(result.robust.value)
    return {number: sum(of_seeds) / len(of_seeds) for number, of_seeds in values.items()}


def _agreement(
    lower: str, upper: str, below: Mapping[int, float], above: Mapping[int, float]
) -> Agreement:
    both = sorted(below.keys() & above.keys())
    a, b = (np.array([shown[number] for number in both]) for shown in (below, above))
    tau = float(kendall_tau(a, b, np.ones((1, len(both))))[0])
    interval = None
    if len(both) >= MIN_PAIRS and np.isfinite(tau):
        draw = np.random.default_rng(0)
        each = np.full(len(both), 1 / len(both))
        taus = kendall_tau(a, b, draw.multinomial(len(both), each, size=RESAMPLES).astype(float))
        low, high = np.nanquantile(taus, (0.025, 0.975))
        interval = (float(low), float(high))
    return Agreement(
        lower=lower,
        upper=upper,
        n=len(both),
        tau=tau if np.isfinite(tau) else None,
        interval=interval,
    )


def _sentence(one: Agreement) -> str:
    what = f"The order at {one.lower} against {one.upper}"
    if one.n < MIN_PAIRS or one.tau is None or one.interval is None:
        why = "" if one.n < MIN_PAIRS else ": they tie at one of the two"
        return f"{what}: with n={one.n} trials at both nothing can be said{why}."
    low, high = one.interval
    figures = f"Kendall tau-b {one.tau:.2f} [{low:.2f}, {high:.2f}], n={one.n}"
    if low > 0:
        share = 50 * (1 + one.tau)
        return f"{what}: {figures}; of two trials the better one stays so in about {share:.0f} %."
    if high < 0:
        return f"{what}: {figures}; it turned round, so do not rank by the lower one."
    return f"{what}: {figures}; not resolved, it may be luck."
