"""Optuna's multivariate TPE (5.0.0, one objective) on arrays: the same densities, no study.

A replay asks TPE a million times, and most of Optuna's time goes into its storage. Tests compare
the densities with Optuna's own. A row of observations holds a number for each axis in `axes`: the
place of a choice, a whole number, a real number, or the logarithm of one on a logarithmic axis.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from search.space.space import (
    ChoiceAxis,
    FixedAxis,
    IntAxis,
    LogUniformAxis,
    Sample,
    Space,
    UniformAxis,
    leaf_axes,
)

Array = NDArray[np.float64]
Drawn = ChoiceAxis | IntAxis | UniformAxis | LogUniformAxis
CANDIDATES = 24
"""Optuna's default."""
TINY = 1e-300
"""Instead of probabilities that round to 0 far from a kernel."""


class Axes:
    """A space as columns of numbers, both ways."""

    def __init__(self, space: Space) -> None:
        self.names = [name for name, _, _, _ in leaf_axes(space)]
        self.axes = [axis for _, _, axis, _ in leaf_axes(space) if not isinstance(axis, FixedAxis)]
        bounds = [_bounds(axis) for axis in self.axes]
        self.numbers = [i for i, axis in enumerate(self.axes) if not isinstance(axis, ChoiceAxis)]
        self.low = np.array([bounds[i][0] for i in self.numbers])
        self.high = np.array([bounds[i][1] for i in self.numbers])

    def encode(self, sample: Sample) -> list[float]:
        """Returns a row."""
        row: list[float] = []
        for name, axis in zip(self.names, self.axes, strict=True):
            value = sample[name]
            if isinstance(axis, ChoiceAxis):
                row.append(axis.choices.index(value))
            else:
                row.append(math.log(value) if isinstance(axis, LogUniformAxis) else value)
        return row

    def decode(self, row: Array) -> Sample:
        """Returns the sample of a row."""
        sample: Sample = {}
        for name, axis, value in zip(self.names, self.axes, row.tolist(), strict=True):
            if isinstance(axis, ChoiceAxis):
                sample[name] = axis.choices[int(value)]
            elif isinstance(axis, IntAxis):
                sample[name] = int(value)
            else:
                found = math.exp(value) if isinstance(axis, LogUniformAxis) else value
                sample[name] = min(max(found, axis.bounds[0]), axis.bounds[1])
        return sample


class Mixture:
    """A Parzen estimator: one kernel around each observation, and a wide one."""

    def __init__(self, rows: Array, axes: Axes) -> None:
        self._axes = axes.axes
        weights = np.append(_weights(len(rows)), 1.0)
        self._weights = weights / weights.sum()
        at = rows[:, axes.numbers]  # (observations, numbers)
        mu = np.vstack([at, (axes.low + axes.high) / 2]).T
        sigma = np.vstack([_sigmas(at, axes), axes.high - axes.low]).T
        self._mu = dict(zip(axes.numbers, mu, strict=True))
        self._sigma = dict(zip(axes.numbers, sigma, strict=True))
        self._tables = {
            column: self._table(rows, column, axis)
            for column, axis in enumerate(self._axes)
            if isinstance(axis, (ChoiceAxis, IntAxis))
        }

    def _table(self, rows: Array, column: int, axis: ChoiceAxis | IntAxis) -> Array:
        """Returns the probability of each value under each kernel."""  # (kernels, values)
        kernels = len(self._weights)
        if isinstance(axis, ChoiceAxis):
            table = np.full((kernels, len(axis.choices)), 1 / kernels)
            table[np.arange(len(rows)), rows[:, column].astype(int)] += 1
        else:
            low, high = axis.bounds
            edges = np.arange(low, high + 2, dtype=np.float64) - 0.5
            table = np.diff(self._below(edges[:, None], column), axis=0).T
        return table / table.sum(axis=1, keepdims=True)

    def _below(self, edges: Array, column: int) -> Array:
        return ndtr((edges - self._mu[column]) / self._sigma[column])

    def draw(self, count: int, rng: np.random.Generator) -> Array:
        """Returns so many rows."""
        kernels = rng.choice(len(self._weights), size=count, p=self._weights)
        rows = np.empty((count, len(self._axes)))
        for column, axis in enumerate(self._axes):
            uniform = rng.random(count)
            if column in self._tables:
                edges = self._tables[column][kernels].cumsum(axis=1)
                places = (edges < uniform[:, None] * edges[:, -1:]).sum(axis=1)
                rows[:, column] = places + (axis.bounds[0] if isinstance(axis, IntAxis) else 0)
                continue
            ends = _bounds(axis)
            mu, sigma = self._mu[column][kernels], self._sigma[column][kernels]
            low, high = (ndtr((end - mu) / sigma) for end in ends)
            rows[:, column] = np.clip(mu + sigma * ndtri(low + uniform * (high - low)), *ends)
        return rows

    def log_density(self, rows: Array) -> Array:
        """Returns the logarithm of the density at each row; of the probability of whole numbers."""
        total = np.tile(np.log(self._weights), (len(rows), 1))  # (rows, kernels)
        for column, axis in enumerate(self._axes):
            if column in self._tables:
                places = rows[:, column] - (axis.bounds[0] if isinstance(axis, IntAxis) else 0)
                total += np.log(np.maximum(self._tables[column], TINY))[:, places.astype(int)].T
                continue
            low, high = (self._below(np.array(end), column) for end in _bounds(axis))
            sigma = self._sigma[column]
            z = (rows[:, column, None] - self._mu[column]) / sigma
            total -= 0.5 * z**2 + np.log(sigma * math.sqrt(2 * math.pi) * (high - low))
        peak = total.max(axis=1)
        return peak + np.log(np.exp(total - peak[:, None]).sum(axis=1))


def propose_by_tpe(
    rows: Array,
    values: Sequence[float],
    running: Array,
    axes: Axes,
    *,
    draw: random.Random,
    candidates: int = CANDIDATES,
    distinct: bool = False,
) -> Sample:
    """Returns the candidate that is likeliest among good configurations against the others.

    Args:
        rows: What was told, oldest first; at least one.
        values: Higher is better.
        running: What has no value yet counts among the others.
        distinct: Whether what is known is left out, where a candidate is not.
    """
    rng = np.random.default_rng(draw.getrandbits(64))
    best_first = np.argsort(-np.asarray(values), kind="stable")
    cut = min(math.ceil(0.1 * len(rows)), 25)
    good = Mixture(rows[np.sort(best_first[:cut])], axes)
    other = Mixture(np.vstack([rows[np.sort(best_first[cut:])], running]), axes)
    found = good.draw(candidates, rng)
    gains = good.log_density(found) - other.log_density(found)
    if distinct:
        known = {row.tobytes() for row in np.vstack([rows, running])}
        gains = np.where([row.tobytes() in known for row in found], -np.inf, gains)
    return axes.decode(found[np.argmax(gains)])


def _weights(count: int) -> Array:
    """The 25 latest count in full, those before them less the older they are."""
    if count < 25:
        return np.ones(count)
    return np.concatenate([np.linspace(1 / count, 1, num=count - 25), np.ones(25)])


def _bounds(axis: Drawn) -> tuple[float, float]:
    """Ends as a row has them, half a step beyond those of whole numbers; of no use for choices."""
    if isinstance(axis, ChoiceAxis):
        return 0.0, float(len(axis.choices))
    low, high = axis.bounds
    if isinstance(axis, IntAxis):
        return low - 0.5, high + 0.5
    return (math.log(low), math.log(high)) if isinstance(axis, LogUniformAxis) else (low, high)


def _sigmas(at: Array, axes: Axes) -> Array:
    """The larger distance to the neighbours on each axis, within bounds."""
    if not len(at):
        return at
    order = np.argsort(at, axis=0)
    ordered = np.vstack([axes.low, np.take_along_axis(at, order, axis=0), axes.high])
    gaps = np.diff(ordered, axis=0)
    sigmas = np.maximum(gaps[:-1], gaps[1:])
    if len(at) >= 2:
        sigmas[0], sigmas[-1] = gaps[1], gaps[-2]
    unordered = np.take_along_axis(sigmas, np.argsort(order, axis=0), axis=0)
    width = axes.high - axes.low
    return np.clip(unordered, width / min(100.0, 2.0 + len(at)), width)
