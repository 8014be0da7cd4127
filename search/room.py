"""Whether workers fit on the nodes of a cluster. Light: no torch, no Ray.

A worker sits on one node, so sums over a cluster say too little: two nodes of 2 CPUs hold no worker
of 4.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.resources import WorkersConfig

Amounts = Mapping[str, float]
"""Name and amount of each resource, by Ray's names: CPU, GPU."""

_GRAIN = 1e-4
"""Ray counts in ten-thousandths; 0.3 / 0.1 GPUs must be three workers in spite of the rounding."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has in total, whoever holds it now."""

    nodes: tuple[Amounts, ...]
    may_grow: bool
    """Whether an autoscaler may bring more nodes."""


def fitting(nodes: Iterable[Amounts], worker: Amounts) -> int:
    """Counts the equal workers that fit side by side on `nodes`."""
    return sum(
        min(int(node.get(name, 0.0) / each + _GRAIN) for name, each in worker.items())
        for node in nodes
    )


def shortage(nodes: Sequence[Amounts], resources: WorkersConfig, *, runs: int) -> str | None:
    """Says what is asked for and what exists, unless `runs` with their fewest workers fit."""
    worker, count = resources.per_worker, runs * resources.min_workers
    room = fitting(nodes, worker)
    if room >= count:
        return None
    return (
        f"resources ask for {count} {'worker' if count == 1 else 'workers'} of {_describe(worker)} "
        f"({runs} at a time x {resources.min_workers}), but there is room for {room}, "
        f"largest node first: {_describe_nodes(nodes, worker)}"
    )


def _describe_nodes(nodes: Sequence[Amounts], names: Iterable[str]) -> str:
    shapes = Counter(tuple((name, node.get(name, 0.0)) for name in names) for node in nodes)
    ordered = sorted(shapes.items(), key=lambda item: [-amount for _, amount in item[0]])
    return ", ".join(
        f"{count} {'node' if count == 1 else 'nodes'} of {_describe(dict(shape))}"
        for shape, count in ordered
    )


def _describe(amounts: Amounts) -> str:
    """Returns such as "2 CPUs and 1 GPUs"."""
    return " and ".join(f"{amount:g} {name}s" for name, amount in amounts.items())
