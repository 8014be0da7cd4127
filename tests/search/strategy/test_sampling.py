"""TPE on rungs: what it models, that it learns, and that it goes on after a resume."""

import math

import numpy as np

from search.axes import ChoiceAxis, LogUniformAxis, UniformAxis
from search.space import Sample, Space
from search.strategy.observed import Observed, ObservedStatus
from search.strategy.sampler_config import TpeConfig
from search.strategy.sampling import modelled_level, propose

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


def test_the_model_is_of_the_highest_rung_that_enough_trials_reached() -> None:
    trials = run(tpe(), trials=6)
    trials = [*(seen(t.number, dict(t.params), 3) for t in trials[:3]), *trials[3:]]

    assert modelled_level(trials, at_least=4) == 0
    assert modelled_level(trials, at_least=3) == 2
    assert modelled_level(trials, at_least=7) is None


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
    grid = np.random.default_rng(0).permutation(np.linspace(0.02, 0.98, 24))
    fine = [_at(number, float(drop)) for number, drop in enumerate(grid)]
    bad = [{**dict(t.params), "drop": 0.5 + t.params["drop"] / 2} for t in fine]

    def drawn(rejected: list[Sample]) -> float:
        proposals = [
            propose(fine, SPACE, tpe(), number=n, rejected=rejected) for n in range(100, 140)
        ]
        return float(np.mean([p["drop"] > 0.5 for p in proposals]))

    # All trials are as good: only what was rejected, all above 0.5, says where not to go.
    assert drawn(bad) < drawn([]) - 0.1


def _at(number: int, drop: float) -> Observed:
    sample: Sample = {"lr": 1e-2, "act": "gelu", "depths": [1, 2], "drop": drop}
    return Observed(number=number, status="paused", params=sample, values={0: (0.5,)}, goal=0)


def test_a_running_trial_keeps_others_at_a_distance() -> None:
    done = run(tpe(), trials=12)
    best = min(done, key=lambda t: loss(dict(t.params)))
    running = [
        Observed(number=12 + k, status="running", params=best.params, values={}, goal=0)
        for k in range(20)
    ]

    def distance(trials: list[Observed]) -> float:
        proposals = [propose(trials, SPACE, tpe(), number=n) for n in range(50, 80)]
        return float(np.mean([abs(p["drop"] - best.params["drop"]) for p in proposals]))

    assert distance([*done, *running]) > distance(done)


def test_several_objectives_are_modelled_together() -> None:
    trials: list[Observed] = []
    for number in range(30):
        sample = propose(trials, SPACE, tpe(), number=number)
        values = {0: (-loss(sample), sample["drop"])}
        trials.append(
            Observed(number=number, status="paused", params=sample, values=values, goal=0)
        )

    late = [loss(dict(t.params)) for t in trials[15:]]
    early = [loss(dict(t.params)) for t in trials[:5]]
    assert np.median(late) < np.median(early)
