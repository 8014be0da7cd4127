"""What constraints allow, refuse and say, and what they measure."""

import subprocess
import sys
from typing import Any

import pytest
from base_trial import base_trial
from pydantic import TypeAdapter, ValidationError

from models.cost import cost
from search.space.constraints import (
    Constraints,
    check_countable,
    excess,
    measure,
    training_cost,
    training_gmacs,
    violations,
)
from trainers.config import TrialConfig

ADAPTER: TypeAdapter[Constraints] = TypeAdapter(Constraints)


def constraints(**bounds: Any) -> Constraints:
    return ADAPTER.validate_python(bounds)


def trial(**changes: dict[str, Any] | float) -> TrialConfig:
    return TrialConfig.model_validate(base_trial(**changes))


def stored(**changes: Any) -> dict[str, Any]:
    """Returns the fields of image files that nobody opens."""
    return {
        "source": "packed",
        "path": "/train",
        "test_path": "/test",
        "classes": "drawn",
        "num_classes": 10,
        "resolution": 16,
        "crop_share": 1.0,
        "train_images": 20,
        "select_images": 10,
        "test_images": 10,
        "extra": {"source": "none", "path": "", "share": 0.0},
        "max_bad": 0.0,
        "seed": 0,
    } | changes


@pytest.mark.parametrize(
    ("bounds", "value", "sentences"),
    [
        ([20, 35], 20.0, ()),
        ([20, 35], 35.0, ()),
        ({"min": 20, "max": 35}, 30.0, ()),
        ([20, 35], 19.5, ("gmacs is 19.5, below the least allowed 20",)),
        ({"min": 20}, 19.5, ("gmacs is 19.5, below the least allowed 20",)),
        ({"min": 20}, 1e9, ()),
        ({"max": 0.3}, 0.41, ("gmacs is 0.41, above the largest allowed 0.3",)),
        ({"max": 0.3}, 0.3001, ("gmacs is 0.3001, above the largest allowed 0.3",)),
        ({"max": 0.3}, 0.0, ()),
        ([0, 5], 5.1, ("gmacs is 5.1, above the largest allowed 5",)),
    ],
)
def test_a_value_beyond_an_end_is_told_in_a_sentence(
    bounds: Any, value: float, sentences: tuple[str, ...]
) -> None:
    allowed = constraints(gmacs=bounds)

    assert violations(allowed, {"gmacs": value}) == sentences
    assert (excess(allowed, {"gmacs": value})["gmacs"] > 0) == bool(sentences)


@pytest.mark.parametrize(
    ("bounds", "value", "far"),
    [
        ([20, 40], 60.0, 0.5),
        ([20, 40], 40.0, 0.0),
        ([20, 40], 36.0, -0.1),
        ([20, 40], 20.0, 0.0),
        ([20, 40], 10.0, 0.5),
        ({"max": 40}, 20.0, -0.5),
        ({"min": 20}, 25.0, -0.25),
    ],
)
def test_the_excess_is_in_units_of_the_bound(bounds: Any, value: float, far: float) -> None:
    found = excess(constraints(params_m=bounds), {"params_m": value, "gmacs": 1.0})

    assert found == {"params_m": pytest.approx(far)}


def test_every_broken_constraint_is_told() -> None:
    allowed = constraints(params_m={"max": 1}, gmacs={"max": 1}, train_gmacs={"min": 5})

    found = violations(allowed, {"params_m": 2.0, "gmacs": 0.5, "train_gmacs": 4.0})

    assert [sentence.split()[0] for sentence in found] == ["params_m", "train_gmacs"]


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ([1], r"bounds are \[low, high\], \{min: low\} or \{max: high\}"),
        ([1, 2, 3], r"bounds are \[low, high\]"),
        (5, r"bounds are \[low, high\]"),
        ({}, r"bounds need an end above 0"),
        ({"min": 0}, r"bounds need an end above 0"),
        ([2, 2], r"low must be less than high, got \[2, 2\]"),
        ({"min": 3, "max": 2.5}, r"low must be less than high, got \[3, 2.5\]"),
        ({"min": -1}, "greater than or equal to 0"),
        ([1, 0], "greater than 0"),
        (["a", 2], "valid number"),
        ({"most": 2}, "Extra inputs are not permitted"),
        ([1, float("inf")], "finite number"),
    ],
)
def test_bounds_that_say_nothing_are_refused(bounds: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        constraints(params_m=bounds)


def test_only_what_is_measured_can_be_constrained() -> None:
    with pytest.raises(ValidationError, match="'activation_mb', 'train_gmacs' or 'train_cost'"):
        constraints(parameters=[1, 2])


def test_constraints_read_back_as_they_were_written() -> None:
    allowed = constraints(params_m=[20, 35], gmacs={"min": 2}, activation_mb={"max": 9.5})

    assert ADAPTER.validate_python(ADAPTER.dump_python(allowed, mode="json")) == allowed


@pytest.mark.parametrize(
    ("attack", "passes"),
    [
        ({"name": "apgd", "steps": 1}, 6),
        ({"name": "apgd", "steps": 2}, 8),
        ({"name": "apgd", "steps": 10}, 24),
        ({"name": "pgd", "steps": 2}, 7),
        ({"name": "fgsm", "steps": 1}, 5),
        ({"name": "apgd", "steps": 2, "fraction": 0.5}, 5.5),
        ({"name": "apgd", "steps": 2, "fraction": 0.0}, 3),
    ],
)
def test_a_training_step_takes_as_many_passes_as_the_attack_needs(
    attack: dict[str, Any], passes: float
) -> None:
    config = trial(attack=attack).attack

    assert training_gmacs(2.0, config) == pytest.approx(2.0 * passes)


def test_a_trial_is_measured_at_its_resolution_and_classes() -> None:
    config = trial(attack={"name": "apgd", "steps": 2})
    data = config.data

    values = measure(config)

    size = cost(config.model, num_classes=data.num_classes, resolution=data.resolution)
    assert values == {
        "params_m": size.params_m,
        "gmacs": size.gmacs,
        "activation_mb": size.activation_mb,
        "attack_activation_mb": size.attack_activation_mb,
        "train_gmacs": pytest.approx(8 * size.gmacs),
        "train_cost": pytest.approx(8 * size.gmacs * 24 * 3 / 1e6),
    }


def test_a_whole_training_costs_its_steps_times_their_batch() -> None:
    # 20 images make 2 batches of 8; the 4 that are left over sit an epoch out.
    config = trial(data=stored(train_images=20), epochs=5)

    assert training_cost(3.0, config) == pytest.approx(3.0 * 2 * 8 * 5 / 1e6)


def test_extra_images_are_a_part_of_each_batch() -> None:
    extra = {"source": "packed", "path": "/extra", "share": 0.5}
    config = trial(data=stored(train_images=20, extra=extra), epochs=5)

    # 4 of each batch of 8 are the 20 train images': 5 batches.
    assert training_cost(3.0, config) == pytest.approx(3.0 * 5 * 8 * 5 / 1e6)


def test_a_cost_of_unknown_images_is_refused_with_the_way_out() -> None:
    config = trial(data=stored(train_images="all"))

    assert training_cost(3.0, config) is None
    with pytest.raises(ValueError, match="'all'; give their number, or bound train_gmacs"):
        check_countable(constraints(train_cost={"max": 1}), config)
    check_countable(constraints(train_gmacs={"max": 1}), config)
    check_countable(constraints(train_cost={"max": 1}), trial())


def test_what_is_measured_can_be_changed_without_harm_to_the_next() -> None:
    first = measure(trial())
    before = dict(first)

    first.clear()

    assert measure(trial()) == before


def test_constraints_need_no_torch() -> None:
    code = "import sys, search.space.constraints; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
