"""Hartmann's functions with a fidelity: Hartmann 1973 as in Dixon and Szego 1978.

f(x) = sum_i alpha_i exp(-sum_j A_ij (x_j - P_ij)^2) on the unit cube, to be maximised. At fidelity
z the weights are alpha_i - b_i (1 - z), as in Kandasamy et al. 2017 (arXiv:1703.06240, appendix
D.2), who take b_i = 0.1 for all, which leaves the order of configurations as it is. Here the basin
that wins has b = 1, so that it promises little early and its rival leads; z = 1 - r(e), see
curves.py.
"""

import functools

import numpy as np

from benchmarks.replay.curves import remaining
from benchmarks.replay.task import Task, Values, typical_quality
from search.space.space import Sample, UniformAxis

ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
EARLY = {3: np.array([0.4, 0.0, -0.2, 1.0]), 6: np.array([0.4, 0.0, 1.0, -0.2])}
"""b: the fourth basin wins in 3 dimensions, the third in 6."""
A = {
    3: np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]]),
    6: np.array(
        [
            [10, 3, 17, 3.5, 1.7, 8],
            [0.05, 10, 17, 0.1, 8, 14],
            [3, 3.5, 1.7, 10, 17, 8],
            [17, 8, 0.05, 10, 0.1, 14],
        ]
    ),
}
P = {
    3: 1e-4
    * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]),
    6: 1e-4
    * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    ),
}
MAXIMUM = {3: 3.86278, 6: 3.32237}
"""At (0.1146, 0.5556, 0.8525) and (0.2017, 0.1500, 0.4769, 0.2753, 0.3117, 0.6573)."""
NOISE = 0.05
"""Standard deviation; about 1.5 % of the distance between good and typical."""


def hartmann(x: list[float], *, fidelity: float) -> float:
    """Returns the function of 3 or 6 numbers in [0, 1], at a fidelity in [0, 1]."""
    weights = ALPHA - EARLY[len(x)] * (1 - fidelity)
    distances = (A[len(x)] * (np.array(x) - P[len(x)]) ** 2).sum(axis=1)
    return float(weights @ np.exp(-distances))


@functools.cache
def hartmann_task(dimensions: int) -> Task:
    """Returns the task of 3 or 6 dimensions."""
    space = {f"x{i}": UniformAxis.model_validate({"uniform": [0, 1]}) for i in range(dimensions)}

    def mean(sample: Sample, epoch: int) -> Values:
        return (hartmann([sample[name] for name in space], fidelity=1 - remaining(epoch)),)

    return Task(
        name=f"hartmann{dimensions}",
        space=space,
        mean=mean,
        noise_sd=NOISE,
        reference=(),
        best=MAXIMUM[dimensions],
        typical=typical_quality(space, mean, reference=()),
    )
