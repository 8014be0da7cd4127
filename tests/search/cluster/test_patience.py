"""How long a run waits for room, on nodes that Ray is said to have."""

from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray._private.state import state

from search.cluster.capacity import GROWTH_S, LOST_S, NODE_GROUP, OversizedError, Patience
from search.resources import WorkersConfig

RESOURCES = WorkersConfig(
    workers=2, min_workers=2, cpus_per_worker=1, gpus_per_worker=0.0, worker_restarts=0
)
Advance = Callable[[float], None]


def node(name: str, *, alive: bool = True, group: str = "") -> dict[str, Any]:
    labels = {NODE_GROUP: group} if group else {}
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 1.0}, "Labels": labels}


@pytest.fixture
def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def cluster(
    monkeypatch: pytest.MonkeyPatch, *nodes: dict[str, Any], draining: tuple[str, ...] = ()
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: list(nodes))
    deadlines = dict.fromkeys(draining, 0)
    monkeypatch.setattr(state, "get_draining_nodes", lambda: deadlines)


def test_a_run_that_would_fit_waits_for_others_for_ever(
    monkeypatch: pytest.MonkeyPatch, advance: Advance
) -> None:
    cluster(monkeypatch, node("a"), node("b"))
    patience = Patience(RESOURCES)

    for _ in range(3):
        advance(10 * GROWTH_S)
        patience.look()


@pytest.mark.parametrize("draining", [("b",), ()])
def test_a_lost_node_is_waited_for_before_the_run_is_given_up(
    monkeypatch: pytest.MonkeyPatch, advance: Advance, draining: tuple[str, ...]
) -> None:
    patience = Patience(RESOURCES)
    cluster(monkeypatch, node("a"), node("b", alive=bool(draining)), draining=draining)

    advance(LOST_S - 1)
    patience.look()
    advance(1)
    with pytest.raises(OversizedError, match=r"2 workers of 1 CPUs .* room for 1"):
        patience.look()


def test_a_node_that_comes_back_begins_the_wait_anew(
    monkeypatch: pytest.MonkeyPatch, advance: Advance
) -> None:
    patience = Patience(RESOURCES)
    cluster(monkeypatch, node("a"), node("b"))
    advance(LOST_S)
    patience.look()

    cluster(monkeypatch, node("a"))
    advance(LOST_S - 1)
    patience.look()


def test_where_an_autoscaler_may_bring_nodes_a_run_waits_longer_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, advance: Advance
) -> None:
    cluster(monkeypatch, node("head", group="headgroup"))
    patience = Patience(RESOURCES)

    advance(LOST_S + 60)
    patience.look()
    advance(GROWTH_S)
    with pytest.raises(OversizedError):
        patience.look()
