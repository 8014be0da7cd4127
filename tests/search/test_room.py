"""What fits on nodes, and what is said when it does not."""

import pytest

from search.resources import WorkersConfig
from search.room import Amounts, fitting, shortage

CPUS_2: Amounts = {"CPU": 2.0, "memory": 8e9}
GPU_NODE: Amounts = {"CPU": 16.0, "GPU": 1.0}


def workers(*, fewest: int, cpus: int, gpus: float) -> WorkersConfig:
    return WorkersConfig(
        workers=8,
        min_workers=fewest,
        cpus_per_worker=cpus,
        gpus_per_worker=gpus,
        worker_restarts=0,
    )


@pytest.mark.parametrize(
    ("nodes", "worker", "count"),
    [
        ([], {"CPU": 1.0}, 0),
        # A worker is not spread over nodes, whatever they have together.
        ([CPUS_2, CPUS_2], {"CPU": 4.0}, 0),
        ([CPUS_2, CPUS_2], {"CPU": 1.0}, 4),
        ([{"CPU": 7.0}, {"CPU": 5.0}], {"CPU": 3.0}, 3),
        ([GPU_NODE, CPUS_2], {"CPU": 1.0, "GPU": 1.0}, 1),
        # In floating point 1 // 0.1 is 9, and 0.3 // 0.1 is 2.
        ([GPU_NODE], {"CPU": 1.0, "GPU": 0.1}, 10),
        ([{"CPU": 16.0, "GPU": 0.3}], {"CPU": 1.0, "GPU": 0.1}, 3),
    ],
)
def test_workers_are_counted_node_by_node(
    nodes: list[Amounts], worker: Amounts, count: int
) -> None:
    assert fitting(nodes, worker) == count


def test_a_shortage_says_what_is_asked_for_and_what_is_there() -> None:
    found = shortage([CPUS_2, {"CPU": 3.0}, CPUS_2], workers(fewest=1, cpus=4, gpus=0.0), runs=1)

    assert found == (
        "resources ask for 1 worker of 4 CPUs (1 at a time x 1), but there is room for 0, "
        "largest node first: 1 node of 3 CPUs, 2 nodes of 2 CPUs"
    )


def test_what_a_node_lacks_is_said_to_be_none() -> None:
    found = shortage([CPUS_2, GPU_NODE], workers(fewest=2, cpus=1, gpus=1.0), runs=3)

    assert found is not None
    assert "6 workers of 1 CPUs and 1 GPUs (3 at a time x 2), but there is room for 1" in found
    assert found.endswith("1 node of 16 CPUs and 1 GPUs, 1 node of 2 CPUs and 0 GPUs")


def test_the_fewest_workers_of_a_run_are_enough() -> None:
    resources = workers(fewest=4, cpus=1, gpus=0.0)

    assert shortage([CPUS_2, CPUS_2], resources, runs=1) is None
    assert shortage([CPUS_2, CPUS_2], resources, runs=2) is not None
