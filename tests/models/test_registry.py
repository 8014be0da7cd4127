"""What holds for a model of any family."""

import pytest
import torch
from family_factory import TINY, tiny
from torch import nn

from models.registry import build_model


def network_of(model: nn.Module) -> nn.Module:
    return model.get_submodule("network")


def images(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", TINY)
def test_one_seed_gives_one_model(family: str) -> None:
    x = images(32)

    def logits(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_model(tiny(family), num_classes=3, resolution=32).eval()(x)

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


@pytest.mark.parametrize("family", TINY)
def test_normalisation_is_inside_the_model(family: str) -> None:
    model = build_model(tiny(family, normalize="half"), num_classes=3, resolution=32).eval()
    x = images(32)

    torch.testing.assert_close(model(x), network_of(model)(2 * x - 1))


@pytest.mark.parametrize("family", TINY)
def test_head_dropout_acts_in_training_alone(family: str) -> None:
    torch.manual_seed(0)
    model = build_model(tiny(family, head_dropout=0.9), num_classes=3, resolution=32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = images(32)

    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("family", ["convnext", "resnet", "vit", "xcit"])
def test_blur_changes_what_strided_convolutions_see_and_no_name(family: str) -> None:
    changes = {
        "stem": "conv",
        "stem_convs": 3,
        "stem_widths": [16, 16, 16],
        "stem_projection": True,
    }
    stride = {"patch_size": 8} if family in ("vit", "xcit") else {"stem_stride": 4}
    plain = build_model(tiny(family, **changes, **stride), num_classes=3, resolution=32).eval()
    blurred = build_model(
        tiny(family, **changes, **stride, blur_pool=True), num_classes=3, resolution=32
    ).eval()

    blurred.load_state_dict(plain.state_dict())

    assert not torch.allclose(plain(images(32)), blurred(images(32)))
