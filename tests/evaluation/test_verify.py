"""The second look catches every kind of false claim, and lets rounding pass."""

from collections.abc import Callable

import pytest
import torch
from tiny_task import L1, L2, LINF, tiny_images, trained_net
from torch import Tensor

from evaluation.precision import full_precision
from evaluation.verify import perturbation_norms, verify_adversarial
from trainers.threat import ThreatModel

CLAIMS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "too far": (lambda x: (x + 1.01 * LINF.eps).clamp(0, 1), "outside norm='linf'"),
    "NaN": (lambda x: x + torch.nan, "outside norm='linf'"),
    "above the box": (lambda x: x + 0.99 * LINF.eps, "outside the pixel box"),
    "double": (lambda x: x.double(), "must be float32"),
    "still right": (lambda x: x, "still classified correctly"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_false_claim_is_refused(claim: str) -> None:
    x = tiny_images(5, seed=2).floats(torch.arange(5))
    x[:, :, 0, 0] = 1.0
    y = trained_net()(x).argmax(dim=1)
    tamper, words = CLAIMS[claim]

    with pytest.raises(RuntimeError, match=words):
        verify_adversarial(trained_net(), x, tamper(x), y, LINF)


def test_model_in_training_mode_is_refused() -> None:
    x = tiny_images(5, seed=2).floats(torch.arange(5))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))

    with pytest.raises(RuntimeError, match="eval mode"):
        verify_adversarial(net, x, x, torch.zeros(5, dtype=torch.int64), LINF)


def test_rounding_at_the_radius_is_no_violation() -> None:
    x = tiny_images(5, seed=2).floats(torch.arange(5))
    x_adv = (x + LINF.eps).clamp(0, 1)
    wrong = (trained_net()(x_adv).argmax(dim=1) + 1) % 5

    norms = verify_adversarial(trained_net(), x, x_adv, wrong, LINF)

    assert norms.tolist() == pytest.approx([LINF.eps] * 5, rel=1e-5)


@pytest.mark.parametrize(("threat", "expected"), [(LINF, 4.0), (L2, 5.0), (L1, 7.0)])
def test_norms_of_a_known_perturbation(threat: ThreatModel, expected: float) -> None:
    delta = torch.zeros(1, 3, 8, 8)
    delta[0, 0, 0, 0], delta[0, 2, 1, 1] = 3.0, -4.0

    assert perturbation_norms(delta, threat).tolist() == [expected]


def test_full_precision_ends_with_its_block() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    with full_precision():
        inside = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    assert inside == (False, False)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
