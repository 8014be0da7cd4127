from pathlib import Path

import pytest
from diagnosis_factory import END, FLAG
from records_factory import full_run, result
from scipy.stats import binomtest
from stored_factory import stored_trial

from evaluation.masking_report import (
    GradientCounts,
    MaskingReport,
    Measurements,
    Outcome,
    Sign,
)
from evaluation.result import EvaluationResult
from search.promotion.card import accuracy_text, model_card, why_incomparable
from trainers.metrics import Accuracy, wilson_interval
from trainers.threat import ThreatModel

BEST = (full_run("t00003"), result(clean=150, robust=96))
DEFAULT = (full_run("default"), result(clean=140, robust=80, first=4))


def test_the_card_states_accuracies_with_attack_n_and_interval() -> None:
    low, high = wilson_interval(96, 240)

    card = model_card(*BEST, default=DEFAULT, masking=None, verdict=())

    assert f"40.0 % [{100 * low:.1f} %, {100 * high:.1f} %], autoattack-standard, n=240" in card
    assert "pyautoattack 0.2.0" in card
    assert "linf, eps = 4/255" in card
    assert "apgd-ce: 50, then apgd-t: 3" in card


def test_the_card_names_the_norms_that_were_trained_but_not_measured() -> None:
    run, measured = BEST
    attack = run.config.attack.model_copy(update={"also": (ThreatModel(norm="l1", eps=12),)})
    both = run.model_copy(update={"config": run.config.model_copy(update={"attack": attack})})

    assert "Trained also against l1, eps = 12: not" in model_card(
        both, measured, default=DEFAULT, masking=None, verdict=()
    )
    assert "Trained also" not in model_card(
        run, measured, default=DEFAULT, masking=None, verdict=()
    )


def test_the_card_states_the_paired_difference_to_the_default() -> None:
    # Robust are images 0..95 here and 4..83 in the default: 16 against 0.
    p_value = binomtest(0, 16).pvalue  # exact McNemar

    card = model_card(*BEST, default=DEFAULT, masking=None, verdict=())

    assert "+6.7 points" in card
    assert "16 right only here, 0 only in the default" in card
    assert f"p={p_value:.2g}; resolved at 95 %" in card


def test_a_small_or_negative_difference_is_stated_and_not_resolved() -> None:
    worse = result(clean=150, robust=79)

    card = model_card(
        BEST[0], worse, default=(DEFAULT[0], result(clean=150, robust=80)), masking=None, verdict=()
    )

    assert "-0.4 points" in card
    assert "not resolved: the interval includes 0" in card


@pytest.mark.parametrize("value", ["0123456789ab", "abc1234", "da1ada1ada1a", "0de10de10de1"])
def test_the_lineage_names_every_hash(value: str) -> None:
    assert value in model_card(*BEST, default=DEFAULT, masking=None, verdict=())


def test_the_limits_are_those_of_the_data_that_was_trained_on() -> None:
    run, measured = BEST
    stored = stored_trial(Path("/nowhere"))
    on_files = run.model_copy(update={"config": stored})

    of_photos, of_files = (
        model_card(r, measured, default=None, masking=None, verdict=()) for r in (run, on_files)
    )

    assert "crops of twelve photographs" in of_photos
    assert "crops of twelve photographs" not in of_files
    assert "hold for the 12 classes of its images at 16 pixels" in of_files
    assert "hash of the train images | 000000000000" in of_photos


def test_the_lineage_leads_back_to_the_trial_and_its_seeds() -> None:
    card = model_card(*BEST, default=DEFAULT, masking=None, verdict=())

    assert "| trial | 3 (t00003) |" in card
    assert "training 7, data 5, evaluation 0" in card
    assert BEST[0].config_hash in card
    assert "epochs: 30" in card


def test_the_default_and_a_missing_default_say_why_there_is_no_difference() -> None:
    assert "this is the default recipe" in model_card(
        *DEFAULT, default=None, masking=None, verdict=()
    )
    assert "the default recipe has no result yet" in model_card(
        *BEST, default=None, masking=None, verdict=()
    )


@pytest.mark.parametrize("field", ["data_hash", "attack", "seed"])
def test_results_of_different_images_or_attacks_are_not_paired(field: str) -> None:
    other: EvaluationResult = DEFAULT[1].model_copy(update={field: 17})

    assert why_incomparable(BEST[1], other).startswith(f"{field} differs")
    assert "points" not in model_card(*BEST, default=(DEFAULT[0], other), masking=None, verdict=())


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    run = BEST[0].model_copy(update={"hardware": "a | b"})

    assert "a \\| b" in model_card(run, BEST[1], default=None, masking=None, verdict=())


def test_percent_is_set_apart() -> None:
    text = accuracy_text(Accuracy(attack="clean", n=4, correct=2))

    assert text.startswith("50.0 % [")


def test_the_card_tells_what_the_trial_and_the_run_were_flagged_with() -> None:
    run, measured = BEST
    flags = {"trial_diagnoses": (FLAG,), "diagnoses": (END,)}

    card = model_card(
        run.model_copy(update=flags), measured, default=DEFAULT, masking=None, verdict=()
    )

    assert f"- The trial: label leaking: {FLAG.reason}\n" in card
    assert f"- This run: catastrophic overfitting: {END.reason}\n" in card
    assert "None: no early check" in model_card(
        run, measured, default=DEFAULT, masking=None, verdict=()
    )


def attacked(attack: str, right: int) -> Outcome:
    return Outcome(attack=attack, eps=0.1, is_right=tuple(i < right for i in range(100)))


def masking_report(*signs: Sign) -> MaskingReport:
    counts = {"n": 80, "zero": 0, "non_finite": 0}
    measured = Measurements(
        changed_predictions=0,
        logit_change=0.0,
        lowest_output=-3.0,
        highest_output=3.0,
        row_sum_error=1.0,
        ce_gradients=GradientCounts(loss="ce", **counts),
        dlr_gradients=GradientCounts(loss="dlr", **counts),
        clean=attacked("clean", 80),
        sweep=(attacked("apgd_ce20", 62), attacked("apgd_ce20", 0)),
        apgd_ce=attacked("apgd_ce20", 62),
        apgd_dlr=attacked("apgd_dlr20", 60),
        pgd_few=attacked("pgd10", 64),
        pgd_many=attacked("pgd100", 63),
        square=attacked("square500", 59),
        noise=attacked("noise10", 59),
    )
    return MaskingReport(model_hash="0" * 12, measured=measured, signs=signs)


def test_card_tells_signs_of_masking_or_what_says_that_there_are_none() -> None:
    sign = Sign(name="saturated logits", reason="the gradient of CE is zero at 26 of 33 images")

    cards = [
        model_card(*BEST, default=None, masking=masking, verdict=())
        for masking in (masking_report(sign), masking_report(), None)
    ]

    assert "- saturated logits: the gradient of CE is zero at 26 of 33 images" in cards[0]
    assert "None: attacks agree (n=100: APGD-CE 62.0 %, APGD-DLR 60.0 %" in cards[1]
    assert "They were not looked for" in cards[2]


def test_card_tells_the_verdict_and_where_the_run_comes_from() -> None:
    run = BEST[0].model_copy(update={"key": "t00003-s2", "repeat": 2, "parent": "trials/t00003"})

    card = model_card(run, BEST[1], default=None, masking=None, verdict=["It wins.", "By 2 SE."])

    assert "## Verdict on all full runs\n\n- It wins.\n- By 2 SE.\n" in card
    assert "| trial | 3 (t00003) |" in card
    assert "| parent | trials/t00003 |" in card
    assert "nothing to compare yet" in model_card(*BEST, default=None, masking=None, verdict=())
