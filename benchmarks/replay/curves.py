"""The learning curves of tasks whose tables hold final values only. A model, not data.

A configuration that ends at v has shown v - lag * r(e) after e of E epochs, where

    r(e) = (e^-a - E^-a) / (1 - E^-a),   a = 0.6,

falls from 1 at the first epoch to 0 at the last: a power law, the shape of learning curves
(Viering and Loog 2023, arXiv:2103.10948). The lag belongs to the configuration,

    lag = spread * (1 + 0.8 u),   u in [-1, 1],

where `spread` is the distance of the 10th and 90th percentile of the final values. u is 0.7 times
what makes a training slow to begin (the task says what: a small learning rate, a large network,
weight decay) and 0.3 times a fixed hash of the configuration, so that early ranks mislead, and in a
way that a model of the early ranks learns with them.
"""

import json
import zlib
from collections.abc import Sequence

from benchmarks.replay.task import EPOCHS
from search.space.space import Sample

DECAY = 0.6
UNEVENNESS = 0.8
CHANCE = 0.3


def remaining(epoch: int) -> float:
    """Returns the share of the lag that is left: 1 after the first epoch, 0 after the last."""
    last = EPOCHS**-DECAY
    return (epoch**-DECAY - last) / (1 - last)


def lag(sample: Sample, slowness: float, *, spread: float) -> float:
    """Returns how far behind its final value a configuration is after one epoch.

    Args:
        slowness: In [-1, 1].
    """
    u = (1 - CHANCE) * slowness + CHANCE * (2 * hashed(sample) - 1)
    return spread * (1 + UNEVENNESS * u)


def hashed(sample: Sample) -> float:
    """Returns a number in [0, 1) that looks random and belongs to the configuration."""
    rounded = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in sample.items()}
    return zlib.crc32(json.dumps(rounded, sort_keys=True).encode()) / 2**32


def spread_of(finals: Sequence[float]) -> float:
    """Returns the distance of the 10th and 90th percentile."""
    ordered = sorted(finals)
    return ordered[int(0.9 * len(ordered))] - ordered[int(0.1 * len(ordered))]
