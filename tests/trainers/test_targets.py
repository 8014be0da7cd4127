"""Targets are other classes: all of them alike, or the least likely one."""

import pytest
import torch
from tiny_models import CountingModel, any_images

from trainers.attacks.targets import least_likely_targets, random_targets


def test_random_targets_are_the_other_classes_and_equally_often() -> None:
    y = torch.arange(4).repeat(3000)

    targets = random_targets(y, num_classes=4, generator=torch.Generator().manual_seed(0))

    counts = torch.zeros(4, 4).index_put((y, targets), torch.tensor(1.0), accumulate=True)
    assert counts.diag().tolist() == [0, 0, 0, 0]
    # 3000 draws among three classes: 1000 each, standard deviation 25.8.
    assert ((counts - 1000).abs() < 100).logical_or(torch.eye(4) == 1).all()


def test_random_targets_repeat_with_their_seed_alone() -> None:
    y = torch.arange(10).repeat(5)

    first, again, other = (
        random_targets(y, num_classes=10, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_targets_need_another_class() -> None:
    y = torch.zeros(2, dtype=torch.int64)

    with pytest.raises(ValueError, match="num_classes >= 2, got num_classes=1; take target=none"):
        random_targets(y, num_classes=1, generator=torch.Generator())


def test_the_least_likely_target_is_the_lowest_logit_other_than_the_label() -> None:
    model, x = CountingModel(), any_images(3)
    with torch.no_grad():
        model.linear.weight.zero_()
        model.linear.bias.copy_(torch.tensor([0.0, 2.0, 1.0]))

    targets = least_likely_targets(model, x, torch.tensor([0, 1, 2]))

    assert targets.tolist() == [2, 0, 0]


def test_least_likely_targets_cost_one_forward_in_eval_mode() -> None:
    model, x = CountingModel().train(), any_images(3)

    least_likely_targets(model, x, torch.tensor([0, 1, 2]))

    assert (model.forwards, model.gradients) == (1, 0)
    assert model.states == {(False, False)}
    assert model.training
