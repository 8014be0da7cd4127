"""Who gives way in a population, to whom, and what a copy changes."""

import numpy as np
import pytest

from search.space.axes import ChoiceAxis, IntAxis, LogUniformAxis, UniformAxis
from search.space.space import Sample, Space
from search.strategy.config import LadderConfig
from search.strategy.observed import Observed
from search.strategy.population import donor_of, explore, gives_way

LADDER = LadderConfig.model_validate(
    {
        "kind": "ladder",
        "survivors": "continue",
        "decide": "pbt",
        "rungs": [1, 2],
        "reduction": 4,
        "race": {"first_block": 60, "alpha": 0.05},
    }
)
SPACE: Space = {
    "optim.lr": LogUniformAxis.model_validate({"log_uniform": [1e-4, 1e-1]}),
    "eps_schedule.ramp": UniformAxis.model_validate({"uniform": [0.0, 1.0]}),
    "attack.steps": IntAxis.model_validate({"int": [1, 5]}),
    "augment.mixup": ChoiceAxis.model_validate({"choice": [0.0, 0.8]}),
    "model.drop_path": UniformAxis.model_validate({"uniform": [0.0, 0.5]}),
    "model.depths": ChoiceAxis.model_validate({"choice": [[1, 1], [1, 2]]}),
}
SAMPLE: Sample = {
    "optim.lr": 1e-2,
    "eps_schedule.ramp": 0.9,
    "attack.steps": 1,
    "augment.mixup": 0.8,
    "model.drop_path": 0.1,
    "model.depths": [1, 2],
}


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (0.1, [0.2, 0.3], False),  # three hold no worst quarter
        (0.1, [0.2, 0.3, 0.4], True),
        (0.2, [0.1, 0.3, 0.4], False),
        (0.1, [0.1, 0.3, 0.4], False),  # a tie stays
        (0.2, [0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], True),
        (float("nan"), [0.1, 0.2, 0.3], True),
    ],
)
def test_the_worst_quarter_gives_way(own: float, others: list[float], expected: bool) -> None:
    assert gives_way(own, others, reduction=4) == expected


def trial(number: int, score: float, status: str = "running") -> Observed:
    return Observed(
        number=number,
        status=status,  # pyright: ignore[reportArgumentType]
        params=SAMPLE,
        values={0: (score,)},
        goal=1,
    )


def test_the_donor_is_among_the_best_quarter_and_alive() -> None:
    trials = [trial(n, n / 10) for n in range(8)]
    trials[7] = trial(7, 0.7, "failed")

    donors = {
        donor.number
        for seed in range(20)
        if (donor := donor_of(trials, LADDER, leaver=trials[0], level=0, seed=seed))
    }

    assert donors == {6}
    alone = [trial(0, 0.5)]
    assert donor_of(alone, LADDER, leaver=alone[0], level=0, seed=0) is None


def test_a_copy_changes_what_is_like_a_schedule_and_nothing_else() -> None:
    changed = [explore(SAMPLE, SPACE, seed=seed) for seed in range(200)]

    for one in changed:
        assert one["model.drop_path"] == 0.1
        assert one["model.depths"] == [1, 2]
        assert 1e-4 <= one["optim.lr"] <= 1e-1
        assert one["attack.steps"] in range(1, 6)
    scaled = [one for one in changed if one["optim.lr"] in (0.8e-2, 1.2e-2)]
    assert np.isclose(len(scaled) / 200, 0.75, atol=0.1)
    ramps = {round(one["eps_schedule.ramp"], 6) for one in changed}
    assert {0.72, 1.0} <= ramps  # 0.9 * 1.2 is cut to the end of the axis
    assert {one["attack.steps"] for one in changed} >= {1, 2}


def test_a_copy_is_a_function_of_its_seed() -> None:
    assert explore(SAMPLE, SPACE, seed=3) == explore(SAMPLE, SPACE, seed=3)
    assert explore(SAMPLE, SPACE, seed=3) != explore(SAMPLE, SPACE, seed=4)
