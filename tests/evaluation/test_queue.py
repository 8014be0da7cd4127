"""The queue: every needed item once, none in vain, whatever order the ends come in."""

import random

import pytest

from evaluation.engine.queue import Queue
from evaluation.engine.stages import EvaluationAttack, Stage, rounds_of, stages_of, version_attacks

STAGES = stages_of(
    [
        EvaluationAttack(name="apgd-ce", steps=5, restarts=1, targets=0, passes=1, shrinks=False),
        EvaluationAttack(name="apgd-t", steps=5, restarts=1, targets=4, passes=1, shrinks=False),
    ]
)
IMAGES = 12


def first_breaks(seed: int) -> dict[int, set[int]]:
    """For each image the stages that break it."""
    draw = random.Random(seed)
    return {
        image: {stage.number for stage in STAGES if draw.random() < 0.2} for image in range(IMAGES)
    }


def play(
    queue: Queue, breaks: dict[int, set[int]], *, lanes: int, seed: int
) -> list[tuple[int, int, bool]]:
    """Runs the queue with ends in random order; returns what was filed."""
    draw, filed = random.Random(seed), list[tuple[int, int, bool]]()
    running: list[tuple[int, Stage]] = []
    while True:
        running += queue.take(lanes - len(running))
        if not running:
            return filed
        image, stage = running.pop(draw.randrange(len(running)))
        is_broken = stage.number in breaks[image]
        dropped = queue.finish(image, stage, is_broken=is_broken)
        running = [item for item in running if not (item[0] == image and item[1] in dropped)]
        filed.append((image, stage.number, is_broken))


@pytest.mark.parametrize("lanes", [1, 3, 50])
@pytest.mark.parametrize("seed", range(5))
def test_the_first_stage_that_breaks_an_image_is_found_whoever_ends_first(
    lanes: int, seed: int
) -> None:
    breaks = first_breaks(seed)

    filed = play(Queue(STAGES, range(IMAGES), known={}), breaks, lanes=lanes, seed=seed)

    assert len({(image, stage) for image, stage, _ in filed}) == len(filed)
    for image in range(IMAGES):
        first = min(breaks[image], default=len(STAGES) - 1)
        done = {stage for other, stage, _ in filed if other == image}
        assert set(range(first + 1)) <= done  # nothing before it is left open


@pytest.mark.parametrize("seed", range(5))
def test_one_lane_runs_nothing_in_vain(seed: int) -> None:
    breaks = first_breaks(seed)

    filed = play(Queue(STAGES, range(IMAGES), known={}), breaks, lanes=1, seed=0)

    needed = sum(min(breaks[image], default=len(STAGES) - 1) + 1 for image in range(IMAGES))
    assert len(filed) == needed
    assert [stage for _, stage, _ in filed] == sorted(stage for _, stage, _ in filed)


def test_idle_lanes_run_ahead_only_when_no_image_waits() -> None:
    queue = Queue(STAGES, range(3), known={})

    taken = [(image, stage.number) for image, stage in queue.take(7)]

    assert taken[:3] == [(0, 0), (1, 0), (2, 0)]
    assert sorted(taken[3:]) == [(0, 1), (0, 2), (1, 1), (2, 1)]


def test_what_is_known_is_not_run_again() -> None:
    breaks = first_breaks(3)
    filed = play(Queue(STAGES, range(IMAGES), known={}), breaks, lanes=4, seed=1)
    half = {(image, stage): is_broken for image, stage, is_broken in filed[: len(filed) // 2]}

    rest = play(Queue(STAGES, range(IMAGES), known=half), breaks, lanes=1, seed=2)

    assert not {(image, stage) for image, stage, _ in rest} & set(half)
    known = half | {(image, stage): is_broken for image, stage, is_broken in rest}
    for image in range(IMAGES):
        first = min(breaks[image], default=None)
        found = min((s for (i, s), broken in known.items() if i == image and broken), default=None)
        assert found == first


def test_length_counts_what_may_remain() -> None:
    known = {(0, 2): True, (1, 0): False, (1, 1): False}

    assert len(Queue(STAGES, range(3), known=known)) == 2 + 3 + 5


def test_stages_are_in_the_order_of_autoattack() -> None:
    stages = stages_of(version_attacks("standard", "linf", num_classes=1000))

    names = [stage.attack.name for stage in stages]
    assert names == ["apgd-ce"] + 9 * ["apgd-t"] + 9 * ["fab-t"] + ["square"]
    assert [stage.rank for stage in stages[1:10]] == list(range(1, 10))
    assert [len(part) for part in rounds_of(stages)] == [10, 9, 1]


def test_l1_has_restarts_and_shrinking_balls() -> None:
    ce, targeted, fab, square = version_attacks("standard", "l1", num_classes=1000)

    assert (ce.restarts, ce.shrinks, targeted.targets, targeted.shrinks) == (5, True, 5, True)
    assert (fab.targets, square.steps) == (9, 5000)


def test_few_classes_leave_few_targets() -> None:
    _, targeted, fab, _ = version_attacks("standard", "l2", num_classes=5)

    assert (targeted.targets, fab.targets) == (4, 4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "apgd-t", "targets": 0}, "apgd-t needs targets >= 1, got targets=0"),
        ({"name": "apgd-ce", "targets": 3}, "apgd-ce has no target classes, set targets=0"),
        ({"name": "square", "passes": 20}, "are for apgd, not for square"),
        ({"name": "fab-t", "targets": 3, "restarts": 2}, "no random start here: restarts=1"),
    ],
)
def test_attacks_that_make_no_sense_are_refused(fields: dict[str, object], words: str) -> None:
    whole = {"steps": 5, "restarts": 1, "targets": 0, "passes": 1, "shrinks": False} | fields

    with pytest.raises(ValueError, match=words):
        EvaluationAttack.model_validate(whole)
