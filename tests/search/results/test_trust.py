from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from records_factory import full_run, record, result, search_records
from scipy.stats import kendalltau

from search.books.records import Promoted, TrialRecord
from search.results.trust import (
    FULL_RUN,
    MIN_PAIRS,
    agreements,
    kendall_tau,
    rung_survival,
    trust_lines,
)

RUNGS = [3, 6, 12]


def rising(n: int) -> list[TrialRecord]:
    """Returns completed trials whose order is the same at every rung, all far apart."""
    return [record(number, top=0.05 + 0.8 * number / n) for number in range(n)]


def tau_by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    tau, _ = kendalltau(a, b)
    return float(tau)  # pyright: ignore[reportArgumentType]


def with_full_runs(numbers: Sequence[int], robust: Sequence[int]) -> list[Promoted]:
    return [
        (full_run(f"t{number:05d}"), result(clean=230, robust=right))
        for number, right in zip(numbers, robust, strict=True)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_tau_is_scipys_also_with_ties(seed: int) -> None:
    draw = np.random.default_rng(seed)
    a, b = draw.integers(0, 6, size=(2, 15)).astype(float)

    tau = kendall_tau(a, b, np.ones((1, 15)))

    assert tau[0] == pytest.approx(tau_by_scipy(a, b))


def test_a_weight_counts_a_trial_so_many_times() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 10))
    weights = draw.multinomial(10, np.full(10, 0.1), size=4).astype(float)

    taus = kendall_tau(a, b, weights)

    repeated = [
        tau_by_scipy(np.repeat(a, times.astype(int)), np.repeat(b, times.astype(int)))
        for times in weights
    ]
    np.testing.assert_allclose(taus, repeated)


def test_what_ties_throughout_has_no_tau() -> None:
    tau = kendall_tau(np.ones(4), np.arange(4.0), np.ones((1, 4)))

    assert np.isnan(tau[0])


def test_every_trial_that_reached_a_rung_has_one_fate_there() -> None:
    began, third, sixth, last = rung_survival(search_records(), rungs=RUNGS)

    assert began.fates == {"went on": 11, "failed": 1}
    assert third.fates == {"went on": 7, "stopped": 3, "running": 1}
    assert sixth.fates == {"went on": 6, "stopped": 1}
    assert last.fates == {"completed": 6}
    assert [one.reached for one in (began, third, sixth, last)] == [12, 11, 7, 6]


def test_who_went_on_at_a_rung_is_who_reached_the_next() -> None:
    passages = rung_survival(search_records(), rungs=RUNGS)

    for passage, above in pairwise(passages):
        assert passage.fates["went on"] == above.reached


def test_paused_and_diagnosed_trials_are_told_apart() -> None:
    kinds = ("paused", "paused", "diagnosed")
    records = [record(n, status=kind, epochs=3) for n, kind in enumerate(kinds)]

    assert rung_survival(records, rungs=RUNGS)[1].fates == {"paused": 2, "diagnosed": 1}


def test_the_same_order_at_two_rungs_is_full_agreement() -> None:
    found = agreements(rising(10), [], rungs=RUNGS)

    first = found[0]
    assert (first.lower, first.upper, first.n) == ("epoch 3", "epoch 6", 10)
    assert first.tau == 1
    assert first.interval == (1, 1)


def test_pairs_with_the_full_run_come_last_and_have_the_mean_over_seeds() -> None:
    records = rising(9)
    # t00000 is worst in its two runs' mean, 55 images, although one of them is the best of all.
    robust = [100, 60, 65, 70, 75, 80, 85, 90, 95]
    promoted = with_full_runs(range(9), robust)
    second = full_run("t00000").model_copy(update={"key": "t00000-s1", "repeat": 1})
    promoted.append((second, result(clean=230, robust=10)))
    promoted.append((full_run("default"), result(clean=230, robust=200)))

    found = agreements(records, promoted, rungs=RUNGS)

    assert [one.upper for one in found] == ["epoch 6", "epoch 12", "epoch 12", *[FULL_RUN] * 3]
    assert [(one.n, one.tau) for one in found[3:]] == [(9, 1.0)] * 3


@pytest.mark.parametrize("n", [0, 1, 4, MIN_PAIRS - 1])
def test_of_few_pairs_nothing_is_said(n: int) -> None:
    lines = trust_lines(rising(n), [], rungs=RUNGS)

    assert lines[0] == (
        f"The order at epoch 3 against epoch 12: with n={n} trials at both nothing can be said."
    )


def test_the_interval_is_that_of_a_bootstrap_with_scipys_tau() -> None:
    records = [record(n, top=top) for n, top in enumerate((0.3, 0.2, 0.31, 0.25, 0.5, 0.28) * 3)]
    values = [[check.robust.value for _, check in r.checks] for r in records]
    a, b = np.array([v[0] for v in values]), np.array([v[2] for v in values])
    draw = np.random.default_rng(7)
    chosen = draw.integers(0, len(a), size=(800, len(a)))
    taus = [tau_by_scipy(a[index], b[index]) for index in chosen]

    found = agreements(records, [], rungs=RUNGS)[1]

    assert (found.lower, found.upper) == ("epoch 3", "epoch 12")
    assert found.interval == pytest.approx(np.quantile(taus, (0.025, 0.975)), abs=0.05)


def test_a_resolved_order_is_told_as_a_share_of_pairs_and_whom_it_leaves_out() -> None:
    lines = trust_lines(rising(10), [], rungs=RUNGS)

    assert lines[0] == (
        "The order at epoch 3 against epoch 12: Kendall tau-b 1.00 [1.00, 1.00], n=10; of two "
        "trials the better one stays so in about 100 %."
    )
    assert lines[-1].startswith("Only trials that a rung let go on have later values")


def test_an_order_that_turns_round_or_means_nothing_is_named() -> None:
    records = rising(10)
    turned = with_full_runs(range(10), [90 - 5 * n for n in range(10)])
    mixed = with_full_runs(range(10), [50, 90, 55, 85, 60, 80, 65, 75, 70, 72])

    assert "do not rank by the lower one" in trust_lines(records, turned, rungs=RUNGS)[2]
    assert "not resolved, it may be luck" in trust_lines(records, mixed, rungs=RUNGS)[2]


def test_what_nothing_can_be_said_about_is_said_once() -> None:
    lines = trust_lines(rising(3), [], rungs=RUNGS)

    assert [line for line in lines if FULL_RUN in line] == [
        "The order at epoch 12 against full run: with n=0 trials at both nothing can be said."
    ]


def test_without_rungs_only_full_runs_are_spoken_of() -> None:
    lines = trust_lines(rising(3), [], rungs=[12])

    assert lines == [
        "The order at epoch 12 against full run: with n=0 trials at both nothing can be said."
    ]
