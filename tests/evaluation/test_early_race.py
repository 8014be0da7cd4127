"""Early checks that race: what they see, what they decide, and how often that is wrong."""

import random
from functools import cache

import pytest
import torch
from tiny_task import CPU, EARLY, LINF, tiny_images, trained_net

from evaluation.config import EarlyCheckConfig, RaceConfig
from evaluation.early import (
    EarlyFlags,
    _misses,  # pyright: ignore[reportPrivateUsage]
    early_check,
    early_flags,
)
from evaluation.racing import Pending, blocks
from trainers.data.images import ImageSet
from trainers.metrics import Check

IMAGES = 80
CONFIG = EARLY.model_copy(update={"images": IMAGES, "ce_steps": 3, "t_steps": 3})
RACE = RaceConfig(first_block=10, alpha=0.05)


def check_of(
    images: ImageSet,
    *,
    cutoff: float | None,
    race: RaceConfig = RACE,
    config: EarlyCheckConfig = CONFIG,
) -> Check:
    pending = None if cutoff is None else Pending(cutoff=cutoff, race=race)
    check = early_check(trained_net(), images, LINF, config, pending=pending, device=CPU)
    return check.model_copy(update={"seconds": 0.0})


@cache
def whole() -> tuple[ImageSet, EarlyFlags, Check]:
    """Images, their flags, and a check that sees all of them."""
    images = tiny_images(IMAGES, seed=2)
    flags = early_flags(trained_net(), images, LINF, CONFIG, device=CPU)
    return images, flags, check_of(images, cutoff=None)


def test_a_weak_model_ends_at_the_first_look_with_the_decision_of_the_whole_list() -> None:
    images, flags, all_of_it = whole()

    check = check_of(images, cutoff=0.99)

    assert all_of_it.robust.value < 0.99
    assert check.missed == 0.99
    assert (check.robust.n, check.robust.correct) == (10, sum(flags.is_robust[:10]))
    assert (check.clean.n, check.clean.correct) == (10, sum(flags.is_clean_correct[:10]))
    assert check.probe is not None
    assert {check.probe.pgd1.n, check.probe.pgd10.n} == {10}


@pytest.mark.parametrize("cutoff", [0.0, 0.02])
def test_a_strong_model_is_checked_as_if_nothing_were_pending(cutoff: float) -> None:
    images, _, all_of_it = whole()

    assert check_of(images, cutoff=cutoff) == all_of_it


def test_no_check_ends_early_with_a_first_block_of_all_images() -> None:
    images, _, all_of_it = whole()
    for first_block in (IMAGES, IMAGES + 1):
        race = RaceConfig(first_block=first_block, alpha=0.05)

        assert check_of(images, cutoff=1.0, race=race) == all_of_it


def test_every_check_that_ends_early_does_so_at_a_look_and_names_what_it_missed() -> None:
    images, flags, all_of_it = whole()
    looks, seen = blocks(IMAGES, first=10), list[int]()
    for cutoff in torch.linspace(0, 1, 11).tolist():
        check = check_of(images, cutoff=cutoff)
        n = check.robust.n

        assert n in looks
        assert check.robust.correct == sum(flags.is_robust[:n])
        assert check.missed == (None if n == IMAGES else cutoff)
        assert n == IMAGES or check.robust.value < cutoff
        assert n == IMAGES or all_of_it.robust.value < cutoff
        seen.append(n)

    assert seen == sorted(seen, reverse=True)  # the higher the cutoff, the fewer
    assert len(set(seen)) >= 3


@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_few_orders_of_the_images_end_a_check_that_would_have_reached_the_cutoff(
    alpha: float,
) -> None:
    """At the hardest cutoff there is: what the flags of all images reach exactly."""
    _, flags, all_of_it = whole()
    stream, looks, wrong = random.Random(0), blocks(IMAGES, first=10), 0
    race = RaceConfig(first_block=10, alpha=alpha)
    pending = Pending(cutoff=all_of_it.robust.value, race=race)
    for _ in range(2000):
        order = tuple(stream.sample(flags.is_robust, IMAGES))
        prefixes = [EarlyFlags(is_clean_correct=order[:n], is_robust=order[:n]) for n in looks]
        wrong += any(_misses(prefix, pending, looks) for prefix in prefixes)

    assert 0.2 * alpha < wrong / 2000 <= alpha
