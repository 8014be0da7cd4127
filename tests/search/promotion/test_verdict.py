"""The verdict on full runs: its standard error against closed forms and simulations."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from records_factory import full_run, progress, result

from evaluation.paired import Z95, compare_paired
from evaluation.result import EvaluationResult
from search.books.records import FullRun, Promoted
from search.promotion.verdict import (
    Flags,
    Verdict,
    compare_means,
    judge,
    seed_variance,
    verdict_lines,
)

N = 240


def flags(*robust: range, n: int = N) -> Flags:
    """Returns a row per seed: right at these images."""
    return np.array([[index in right for index in range(n)] for right in robust], dtype=np.float64)


def evaluated(
    recipe: str, robust: range, *, repeat: int = 0, seconds: float = 10.0
) -> tuple[FullRun, EvaluationResult]:
    """Returns a full run with its result: right at these images, 12 epochs of `seconds`."""
    run = full_run(recipe, seed=7 + repeat)
    curve = progress(12)
    history = tuple(epoch.model_copy(update={"seconds": seconds}) for epoch in curve.history)
    update = {
        "key": f"{recipe}-s{repeat}" if repeat else recipe,
        "repeat": repeat,
        "progress": curve.model_copy(update={"history": history}),
    }
    outcome = result(clean=N, robust=len(robust), first=robust.start)
    return run.model_copy(update=update), outcome


def verdict_on(*promoted: Promoted) -> Verdict:
    verdict = judge(promoted)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (4, 0), (6, 0), (30, 11)])
def test_with_one_seed_each_the_se_is_that_of_the_paired_interval(only_a: int, only_b: int) -> None:
    a, b = flags(range(only_b, 100)), flags(range(100 - only_a))

    gap = compare_means(a, b, seed_variance=0.0)

    # Bonett and Price's interval, unless it is cut to [-1, 1].
    paired = compare_paired(a[0].astype(bool).tolist(), b[0].astype(bool).tolist())
    assert gap.difference == pytest.approx(paired.difference)
    assert gap.se == pytest.approx((paired.high - paired.low) / 2 / Z95)


@pytest.mark.parametrize(("only_a", "is_resolved"), [(0, False), (4, False), (8, True)])
def test_a_gain_on_few_images_is_resolved_when_the_exact_test_says_so(
    only_a: int, *, is_resolved: bool
) -> None:
    a, b = flags(range(100)), flags(range(100 - only_a))

    gap = compare_means(a, b, seed_variance=0.0)

    test = compare_paired(a[0].astype(bool).tolist(), b[0].astype(bool).tolist())
    assert gap.is_resolved is is_resolved
    assert (test.p_value < 0.05) is is_resolved


def test_seeds_that_move_all_images_alike_have_the_variance_of_their_accuracies() -> None:
    # Seed 0 is right everywhere, seed 1 nowhere: no seed changes a single image on its own.
    table = np.array([[1.0] * 10, [0.0] * 10])

    assert seed_variance([table]) == pytest.approx(0.5)


def test_the_variance_of_seeds_is_what_an_analysis_of_variance_says() -> None:
    random = np.random.default_rng(0)
    tables = [(random.random((3, 40)) < level).astype(float) for level in (0.2, 0.9)]
    tables[0][0] = 1.0

    # Two-way layout, textbook form: (MS between seeds - MS residual) / images.
    components: list[float] = []
    for table in tables:
        of_seeds, of_images = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
        ms_seeds = 40 * ((of_seeds - table.mean()) ** 2).sum() / 2
        ms_rest = ((table - of_seeds - of_images + table.mean()) ** 2).sum() / (2 * 39)
        components.append(float(ms_seeds - ms_rest) / 40)
    assert seed_variance(tables) == pytest.approx(sum(components) / 2)


def test_without_repeated_seeds_their_variance_is_unknown_and_never_negative() -> None:
    assert seed_variance([flags(range(9)), flags(range(5))]) is None
    assert seed_variance([np.ones((3, 1))]) is None
    assert seed_variance([flags(range(0, 100), range(50, 150))]) == 0.0


def simulated(random: np.random.Generator, *, seeds: int, trained: float) -> tuple[Flags, Flags]:
    """Draws two equal recipes: images of shared difficulty, seeds that shift every image."""
    difficulty = random.normal(0, 1.5, 200)

    def recipe() -> npt.NDArray[np.float64]:
        taste = random.normal(0, 0.5, 200)
        shift = random.normal(0, trained, (seeds, 1))
        noise = random.normal(0, 0.7, (seeds, 200))
        return (difficulty + taste + shift + noise > 0).astype(np.float64)

    return recipe(), recipe()


@pytest.mark.parametrize("trained", [0.0, 0.2])
def test_the_se_is_the_spread_that_simulated_experiments_have(trained: float) -> None:
    random = np.random.default_rng(1)
    draws = [simulated(random, seeds=3, trained=trained) for _ in range(1500)]
    variance = seed_variance([table for pair in draws for table in pair])
    assert variance is not None

    gaps = [compare_means(a, b, seed_variance=variance) for a, b in draws]

    spread = float(np.std([gap.difference for gap in gaps]))
    expected = math.sqrt(float(np.mean([gap.se**2 for gap in gaps])))
    assert expected == pytest.approx(spread, rel=0.06)


def test_the_noise_of_training_turns_a_gain_of_one_seed_into_a_tie() -> None:
    default = [evaluated("default", range(size), repeat=i) for i, size in enumerate((80, 60, 100))]
    best = [evaluated("t00003", range(size), repeat=i) for i, size in enumerate((96, 70, 110))]

    once = verdict_on(best[0], default[0]).standings[0].over_default
    thrice = verdict_on(*best, *default)

    assert once is not None
    assert once.is_resolved
    assert thrice.standings[0].over_default is not None
    assert not thrice.standings[0].over_default.is_resolved
    assert thrice.standings[0].seeds == (7, 8, 9)
    assert thrice.standings[0].runs == ("t00003", "t00003-s1", "t00003-s2")
    assert thrice.seed_sd == pytest.approx(np.std([60, 80, 100], ddof=1) / N, rel=0.05)


def test_a_resolved_gain_wins_whatever_it_costs() -> None:
    best, default = evaluated("t00003", range(120), seconds=99), evaluated("default", range(80))

    verdict = verdict_on(best, default)

    assert verdict.winner == "t00003"
    assert verdict_lines(verdict) == [
        "Verdict: t00003 (robust 50.0 % [43.7, 56.3], autoattack-standard, clean 100.0 % "
        "[98.4, 100.0], n=240, 30 epochs, training seed 7) wins.",
        "t00003 against the default: +16.7 points (SE 2.5), at least 2 SE.",
        "SE holds the choice of the 240 images of the test split, not the noise of training: each "
        "recipe has one seed (promotion.seeds).",
    ]


def test_the_interval_over_seeds_holds_what_they_differ_by() -> None:
    """Three seeds at 60, 80 and 100 of 240: much wider than one seed of 80 would say."""
    seeds = [evaluated("t00003", range(n), repeat=i) for i, n in enumerate((60, 80, 100))]
    default = evaluated("default", range(10))

    standing = verdict_on(*seeds, default).standings[0]

    low, high = standing.robust_interval
    sd = np.std([60, 80, 100], ddof=1) / N
    images = np.array([[i < n for i in range(N)] for n in (60, 80, 100)]).mean(axis=0).var() / N
    assert (low + high) / 2 == pytest.approx(80 / N)
    assert (high - low) / 2 == pytest.approx(1.96 * (images + sd**2 / 3) ** 0.5, rel=0.02)


def test_a_gain_under_two_se_is_a_tie_and_the_cheaper_wins() -> None:
    best, other = evaluated("t00003", range(84), seconds=30), evaluated("t00005", range(82))
    default = evaluated("default", range(60), seconds=1)

    verdict = verdict_on(best, other, default)

    assert [one.recipe for one in verdict.standings] == ["t00003", "t00005", "default"]
    assert verdict.winner == "t00005"
    assert (
        "+0.8 points (SE 0.8): a tie, and the cheapest wins (120 s of training, 0.5 M "
        in (verdict_lines(verdict)[1])
    )


def test_the_default_wins_a_tie_that_it_is_cheaper_in() -> None:
    best, default = evaluated("t00003", range(82)), evaluated("default", range(80), seconds=5)

    verdict = verdict_on(best, default)

    assert verdict.winner == "default"
    assert "t00003 against the default: +0.8 points (SE 0.8), a tie, under 2 SE." in verdict_lines(
        verdict
    )


def test_equal_flags_and_costs_leave_the_smaller_model_the_winner() -> None:
    best, default = evaluated("t00003", range(80)), evaluated("default", range(80))
    run, outcome = best
    assert run.progress is not None
    small = run.model_copy(update={"progress": run.progress.model_copy(update={"params_m": 0.4})})

    assert verdict_on((small, outcome), default).winner == "t00003"


def test_what_cannot_be_compared_is_left_out_with_its_reason() -> None:
    best, default = evaluated("t00003", range(96)), evaluated("default", range(80))
    failed = full_run("t00004").model_copy(
        update={"status": "failed", "reason": "non-finite loss\nstep 3"}
    )
    run, outcome = evaluated("t00005", range(96))
    other = (run, outcome.model_copy(update={"seed": 5}))

    verdict = verdict_on(other, best, (failed, None), default)

    assert verdict.left_out == {"t00004": "non-finite loss", "t00005": "seed differs (5 and 0)"}
    assert "t00004 is not compared: non-finite loss." in verdict_lines(verdict)
    assert len(verdict.standings) == 2


def test_a_repetition_of_an_earlier_promotion_with_other_epochs_is_left_out() -> None:
    best, default = evaluated("t00003", range(96)), evaluated("default", range(80))
    run, outcome = evaluated("default", range(70), repeat=1)
    shorter = run.model_copy(update={"config": run.config.model_copy(update={"epochs": 12})})

    verdict = verdict_on(best, default, (shorter, outcome))

    assert verdict.left_out == {
        "default-s1": "its config differs from that of default in more than the seed"
    }
    assert verdict.standings[1].seeds == (7,)


def test_a_recipe_of_an_earlier_promotion_of_other_length_is_left_out() -> None:
    best, default = evaluated("t00003", range(96)), evaluated("default", range(80))
    run, outcome = evaluated("t00005", range(99))
    shorter = run.model_copy(update={"config": run.config.model_copy(update={"epochs": 12})})

    verdict = verdict_on(best, default, (shorter, outcome))

    assert verdict.left_out == {"t00005": "it trained 12 epochs, default 30"}
    assert {one.recipe for one in verdict.standings} == {"t00003", "default"}


def test_a_tie_at_the_same_cost_but_for_noise_goes_to_the_more_robust() -> None:
    first, second = evaluated("t00003", range(96)), evaluated("t00005", range(94))
    run, outcome = second
    assert run.progress is not None
    epochs = [
        one.model_copy(update={"seconds": 0.97 * one.seconds}) for one in run.progress.history
    ]
    faster = run.progress.model_copy(update={"history": tuple(epochs)})

    verdict = verdict_on(first, (run.model_copy(update={"progress": faster}), outcome))

    assert verdict.winner == "t00003"


def test_one_recipe_alone_gets_no_verdict() -> None:
    runs = [evaluated("t00003", range(96)), evaluated("t00003", range(90), repeat=1)]

    assert judge(runs) is None
    assert judge([]) is None


def test_without_the_default_the_finalists_are_compared_among_themselves() -> None:
    verdict = verdict_on(evaluated("t00003", range(96)), evaluated("t00005", range(40)))

    assert verdict.winner == "t00003"
    assert [one.over_default for one in verdict.standings] == [None, None]


def test_a_verdict_comes_back_from_its_file_as_it_was() -> None:
    verdict = verdict_on(evaluated("t00003", range(96)), evaluated("default", range(80)))

    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
