"""This field's own tables as a search: APGD-CE accuracy, Debenedetti et al. 2022, arXiv:2209.07399.

The surrogate, in points of robust accuracy on ImageNet-100:

    value = table IX[mixup, cutmix, randaug, erase]                   16 measured rows, looked up
          + share_d(augmentation) * (II(d)[weight decay] - II(d)[0.05])    linear in log10
          + share_e(augmentation) * (II(b)[eps warm-up] - II(b)[20])       linear in epochs

Table IX was measured at weight decay 0.05 and a warm-up of 20 of 110 epochs. II(d) was measured
without augmentation and II(b) with all of it; how they interact is assumed: share_d falls from 1 to
0.5 with the number of augmentations, and share_e rises from 0.5 to 1. Two trainings of one
configuration differ by 0.08 and 0.50 points in the paper, a standard deviation of 0.25; 0.3 is
taken. Curves as in curves.py: weight decay, augmentation and a long
warm-up of eps begin slowly.

With a cost, there is also the network of table II(a), as its offset from XCiT-N12 (whose row is the
one that II(b) begins with), and its GMACs.
"""

import functools
import itertools
import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from benchmarks.replay.curves import lag, remaining, spread_of
from benchmarks.replay.task import (
    EPOCHS,
    Task,
    Values,
    choice,
    draw_sample,
    hypervolume,
    typical_quality,
    whole,
)
from search.space.space import LogUniformAxis, Sample, Space

AUGMENTATIONS = ("mixup", "cutmix", "randaug", "erase")
TABLE_IX = {
    (0, 0, 0, 1): 39.22,
    (0, 0, 0, 0): 39.22,
    (1, 0, 0, 0): 38.56,
    (1, 0, 0, 1): 38.26,
    (1, 1, 0, 0): 38.18,
    (0, 0, 1, 0): 37.64,
    (0, 0, 1, 1): 37.62,
    (1, 1, 0, 1): 37.20,
    (1, 0, 1, 0): 36.74,
    (0, 1, 0, 0): 36.30,
    (1, 1, 1, 0): 36.06,
    (0, 1, 0, 1): 35.74,
    (1, 0, 1, 1): 35.70,
    (1, 1, 1, 1): 35.38,
    (0, 1, 1, 0): 32.92,
    (0, 1, 1, 1): 32.40,
}
"""APGD-CE accuracy in percent."""
WEIGHT_DECAY: Mapping[float, float] = {
    1e-3: 39.04,
    1e-2: 38.66,
    5e-2: 39.30,
    1e-1: 39.92,
    5e-1: 42.02,
    1.0: 40.88,
}
WARMUP: Mapping[float, float] = {0: 30.48, 5: 32.86, 10: 33.84, 20: 34.88, 30: 34.54}
NETWORKS = {
    "XCiT-N12": (30.48, 0.56),
    "DeiT-S": (33.32, 4.61),
    "CaiT-S-12": (35.84, 4.76),
    "XCiT-S12": (54.80, 4.81),
}
"""Table II(a): accuracy and GMACs."""
NOISE = 0.3
NETWORK = "network"


def accuracy(sample: Sample) -> float:
    """Returns the surrogate's accuracy in percent."""
    flags = tuple(sample[name] for name in AUGMENTATIONS)
    load = sum(flags) / len(flags)
    decay = {math.log10(k): v for k, v in WEIGHT_DECAY.items()}
    decay_gain = interpolated(decay, math.log10(sample["weight_decay"])) - WEIGHT_DECAY[5e-2]
    warmup_gain = interpolated(WARMUP, sample["eps_warmup"]) - WARMUP[20]
    value = TABLE_IX[flags] + (1 - 0.5 * load) * decay_gain + (0.5 + 0.5 * load) * warmup_gain
    if NETWORK in sample:
        value += NETWORKS[sample[NETWORK]][0] - NETWORKS["XCiT-N12"][0]
    return value


def interpolated(table: Mapping[float, float], at: float) -> float:
    """Returns the value of straight lines through the table's points, level beyond its ends."""
    places = sorted(table)
    above = bisect_left(places, at)
    if above in (0, len(places)):
        return table[places[min(above, len(places) - 1)]]
    low, high = places[above - 1], places[above]
    share = (at - low) / (high - low)
    return (1 - share) * table[low] + share * table[high]


def slowness(sample: Sample) -> float:
    """Returns what begins slowly: weight decay, augmentation, a long warm-up, in [-1, 1]."""
    decay = (math.log10(sample["weight_decay"]) + 3) / 3
    warmup = sample["eps_warmup"] / 30
    load = sum(sample[name] for name in AUGMENTATIONS) / 4
    return 2 * (0.4 * decay + 0.4 * warmup + 0.2 * load) - 1


@functools.cache
def recipes_task(*, costs: bool) -> Task:
    """Returns the task; with `costs`, the negated GMACs are its second objective."""
    space: Space = {name: choice(0, 1) for name in AUGMENTATIONS} | {
        "weight_decay": LogUniformAxis.model_validate({"log_uniform": [1e-3, 1.0]}),
        "eps_warmup": whole(0, 30),
        **({NETWORK: choice(*NETWORKS)} if costs else {}),
    }
    draw = random.Random(1)
    spread = spread_of([accuracy(draw_sample(space, draw)) for _ in range(1000)])

    def mean(sample: Sample, epoch: int) -> Values:
        value = accuracy(sample)
        if epoch < EPOCHS:
            value -= lag(sample, slowness(sample), spread=spread) * remaining(epoch)
        return (value, -NETWORKS[sample[NETWORK]][1]) if costs else (value,)

    truths = [mean(sample, EPOCHS) for sample in _corners(costs=costs)]
    reference = (30.0, -5.0) if costs else ()
    return Task(
        name="recipes" + ("-cost" if costs else ""),
        space=space,
        mean=mean,
        noise_sd=NOISE,
        reference=reference,
        best=hypervolume(truths, reference) if costs else max(truth[0] for truth in truths),
        typical=typical_quality(space, mean, reference=reference),
    )


def _corners(*, costs: bool) -> list[Sample]:
    """Returns every knot of the piecewise linear surrogate, where its maximum lies."""
    networks: Sequence[dict[str, str]] = [{NETWORK: n} for n in NETWORKS] if costs else [{}]
    return [
        dict(zip(AUGMENTATIONS, flags, strict=True))
        | {"weight_decay": decay, "eps_warmup": warmup}
        | network
        for flags, decay, warmup, network in itertools.product(
            TABLE_IX, WEIGHT_DECAY, WARMUP, networks
        )
    ]
