"""TPE on rungs: what it models, that it learns, and that it goes on after a resume."""

import math
from collections import Counter

import numpy as np

from search.space.axes import ChoiceAxis, LogUniformAxis, UniformAxis
from search.space.space import Sample, Space
from search.strategy.observed import Observed, ObservedStatus
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import propose

SPACE: Space = {
    "lr": LogUniformAxis.model_validate({"log_uniform": [1e-4, 1e-1]}),
    "act": ChoiceAxis.model_validate({"choice": ["relu", "gelu", "silu"]}),
    "depths": ChoiceAxis.model_validate({"choice": [[1, 1], [1, 2]]}),
    "drop": UniformAxis.model_validate({"uniform": [0.0, 1.0]}),
}


def tpe(**fields: float) -> TpeConfig:
    settings = {"seed": 0, "startup_trials": 5, "random_share": 0.0, "min_observations": 4}
    return TpeConfig.model_validate({"name": "tpe", **settings, **fields})


def loss(sample: Sample) -> float:
    """Best at lr = 0.01, gelu, depths [1, 2], drop = 0.3."""
    wrong = 0.5 * (sample["act"] != "gelu") + 0.2 * (sample["depths"] == [1, 1])
    return abs(math.log10(sample["lr"]) + 2) + abs(sample["drop"] - 0.3) + wrong


def seen(
    number: int, sample: Sample, levels: int = 1, status: ObservedStatus = "paused"
) -> Observed:
    values = {level: (-loss(sample),) for level in range(levels)}
    return Observed(number=number, status=status, params=sample, values=values, goal=levels - 1)


def run(sampler: TpeConfig, *, trials: int) -> list[Observed]:
    found: list[Observed] = []
    for number in range(trials):
        found.append(seen(number, propose(found, SPACE, sampler, number=number)))
    return found


def test_no_sample_is_tried_twice_while_there_is_another() -> None:
    space: Space = {name: SPACE[name] for name in ("act", "depths")}
    trials: list[Observed] = []
    for number in range(6):
        sample = propose(trials, space, tpe(startup_trials=2), number=number)
        values = {0: (float(number),)}
        trials.append(
            Observed(number=number, status="paused", params=sample, values=values, goal=0)
        )

    assert len({str(trial.params) for trial in trials}) == 6


def test_proposals_come_nearer_to_the_best_than_random_ones() -> None:
    modelled = [loss(dict(t.params)) for t in run(tpe(), trials=40)[20:]]
    random = [loss(dict(t.params)) for t in run(tpe(random_share=1.0), trials=40)[20:]]

    assert np.median(modelled) < 0.6 * np.median(random)


def test_a_trial_is_a_function_of_the_seed_its_number_and_what_was_seen() -> None:
    before = run(tpe(), trials=12)

    again = propose(before, SPACE, tpe(), number=12)

    assert propose(before, SPACE, tpe(), number=12) == again
    assert propose(before, SPACE, tpe(seed=1), number=12) != again
    assert propose(before, SPACE, tpe(), number=13) != again


def test_what_failed_and_what_could_not_be_built_is_avoided() -> None:
    draw = np.random.default_rng(0)
    fine = [_at(number, float(draw.random())) for number in range(24)]
    favourite = _proposed(fine, []).most_common(1)[0][0]
    bad = [{**dict(t.params), "act": favourite} for t in fine]
    failed = [
        Observed(number=24 + place, status="failed", params=params, values={}, goal=0)
        for place, params in enumerate(bad)
    ]

    before = _proposed(fine, [])[favourite]

    assert _proposed(fine, bad)[favourite] < before / 2
    assert _proposed([*fine, *failed], [])[favourite] < before / 2


def _at(number: int, drop: float) -> Observed:
    """A trial of any activation; three of them are as good as can be."""
    act = ["relu", "gelu", "silu"][number % 3]
    sample: Sample = {"lr": 1e-2, "act": act, "depths": [1, 2], "drop": drop}
    values = {0: (float(number >= 21),)}
    return Observed(number=number, status="paused", params=sample, values=values, goal=0)


def _proposed(trials: list[Observed], rejected: list[Sample]) -> Counter[str]:
    return Counter(
        propose(trials, SPACE, tpe(), number=n, rejected=rejected)["act"] for n in range(100, 140)
    )


def test_with_two_objectives_the_proposals_near_the_front_and_spread_along_it() -> None:
    """A low loss wants drop = 0.3, the other objective as much of it as there is."""
    trials: list[Observed] = []
    for number in range(60):
        sample = propose(trials, SPACE, tpe(), number=number)
        values = {0: (-loss(sample), sample["drop"])}
        trials.append(
            Observed(number=number, status="paused", params=sample, values=values, goal=0)
        )

    def distance(trial: Observed) -> float:
        """What is lost beyond what this much of the second objective costs."""
        drop = trial.params["drop"]
        return loss(dict(trial.params)) - max(0.0, drop - 0.3)

    late = trials[30:]
    assert np.median([distance(t) for t in late]) < 0.5 * np.median(
        [distance(t) for t in trials[:5]]
    )
    drops = [t.params["drop"] for t in late]
    assert min(drops) < 0.45
    assert max(drops) > 0.9


def test_a_sample_that_could_be_no_trial_is_not_proposed_again() -> None:
    space: Space = {name: SPACE[name] for name in ("act", "depths")}
    rejected: list[Sample] = [{"act": act, "depths": [1, 1]} for act in ("relu", "gelu", "silu")]
    sample = propose([], space, tpe(startup_trials=2), number=0, rejected=rejected)

    assert sample["depths"] == [1, 2]
