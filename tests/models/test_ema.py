"""The moving average against its closed form."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from models.ema import Ema


class Scalar(nn.Module):
    """One weight and one buffer."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def averaged_weight(ema: Ema) -> float:
    return ema.averaged.get_parameter("weight").item()


def test_a_jump_is_forgotten_by_the_product_of_the_decays() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.3)
    nn.init.ones_(model.weight)

    for _ in range(20):
        ema.update()

    # From 0 towards a constant 1, what is missing is the product of all decays.
    missing = math.prod(min(0.3, (1 + t) / (10 + t)) for t in range(20))
    assert averaged_weight(ema) == pytest.approx(1 - missing)


def test_the_first_decays_are_those_of_the_warm_up() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.9999)
    nn.init.ones_(model.weight)

    ema.update()
    first = averaged_weight(ema)
    ema.update()

    assert first == pytest.approx(1 - 1 / 10)
    assert averaged_weight(ema) == pytest.approx(1 - 1 / 10 * 2 / 11)


def test_a_linear_drift_is_followed_with_the_lag_of_the_horizon() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.9)

    for step in range(1, 301):
        nn.init.constant_(model.weight, float(step))
        ema.update()

    # The average of a ramp trails by decay / (1 - decay) steps.
    assert averaged_weight(ema) == pytest.approx(300 - 9, rel=1e-4)


def test_decay_zero_follows_the_model() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.0)
    nn.init.constant_(model.weight, 7.0)

    ema.update()

    assert averaged_weight(ema) == 7


def test_buffers_are_copied() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.9)
    model.get_buffer("count").fill_(5)

    ema.update()

    assert ema.averaged.get_buffer("count").item() == 5


def test_the_average_is_a_model_of_its_own_in_eval_mode() -> None:
    model = Scalar(1.0).train()

    ema = Ema(model, decay=0.9)
    nn.init.zeros_(model.weight)

    assert averaged_weight(ema) == 1
    assert not ema.averaged.training
    assert model.training
    assert not any(p.requires_grad for p in ema.parameters())


def test_a_saved_average_goes_on_as_if_nothing_had_happened() -> None:
    model = Scalar(0.0)
    ema = Ema(model, decay=0.9999)
    nn.init.ones_(model.weight)
    ema.update()
    resumed = Ema(copy.deepcopy(model), decay=0.9999)

    resumed.load_state_dict(copy.deepcopy(ema.state_dict()))
    ema.update()
    resumed.update()

    assert averaged_weight(resumed) == averaged_weight(ema)
    assert resumed.updates == 2


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_never_moves_or_overshoots_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        Ema(Scalar(0.0), decay=decay)
