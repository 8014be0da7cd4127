"""BlurPool: its filter in closed form, and where it is applied."""

import copy
import io
from typing import Any

import pytest
import torch
from family_factory import tiny
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.blur import blur, blur_strided
from models.registry import build_model
from models.resnet import build_resnet


def strided(inputs: int, *, kernel_size: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, inputs, kernel_size, stride=2, padding=kernel_size // 2, groups=groups)


def tiny_resnet() -> nn.Module:
    config = tiny("resnet", stem_stride=4, widths=[16, 16])
    return build_resnet(config, num_classes=3, resolution=8).eval()


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def plain(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """What the convolution computes from `x` itself."""
    return F.conv2d(
        x,
        convolution.weight,
        convolution.bias,
        convolution.stride,
        convolution.padding,
        groups=convolution.groups,
    )


def test_an_impulse_becomes_the_product_of_two_binomials() -> None:
    impulse = torch.zeros(1, 2, 5, 5)
    impulse[0, 1, 2, 2] = 16.0

    blurred = blur(impulse)

    expected = torch.zeros(1, 2, 5, 5)
    expected[0, 1, 1:4, 1:4] = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    torch.testing.assert_close(blurred, expected, rtol=0, atol=0)


def test_zeros_surround_the_image_as_in_a_depthwise_convolution() -> None:
    x = images(2, 3, 4, 5)
    binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(binomial, binomial).expand(3, 1, 3, 3)

    torch.testing.assert_close(blur(x), F.conv2d(x, kernel, padding=1, groups=3))


def test_a_single_pixel_can_be_blurred() -> None:
    torch.testing.assert_close(blur(torch.ones(1, 1, 1, 1)), torch.full((1, 1, 1, 1), 0.25))


@pytest.mark.parametrize(("kernel_size", "groups"), [(3, 1), (1, 1), (3, 16)])
def test_a_strided_convolution_reads_the_blurred_image(kernel_size: int, groups: int) -> None:
    convolution = strided(16, kernel_size=kernel_size, groups=groups)
    x = images(2, 16, 8, 8)

    blur_strided(convolution)

    torch.testing.assert_close(convolution(x), plain(convolution, blur(x)))


def test_a_constant_image_changes_only_at_the_border() -> None:
    convolution = strided(16)
    x = torch.ones(1, 16, 12, 12)
    before = convolution(x)

    blur_strided(convolution)

    after = convolution(x)
    torch.testing.assert_close(after[..., 1:-1, 1:-1], before[..., 1:-1, 1:-1])
    assert not torch.allclose(after[..., 0, :], before[..., 0, :])


@pytest.mark.parametrize(
    "convolution",
    [strided(15), nn.Conv2d(16, 16, 3, padding=1)],
    ids=["fewer than 16 inputs", "stride 1"],
)
def test_other_convolutions_read_the_image_itself(convolution: nn.Conv2d) -> None:
    x = images(1, convolution.in_channels, 8, 8)

    blur_strided(nn.ModuleList([convolution, strided(16)]))

    torch.testing.assert_close(convolution(x), plain(convolution, x), rtol=0, atol=0)


def test_max_pooling_stays_as_it_is() -> None:
    pooling = nn.MaxPool2d(3, stride=2, padding=1)
    x = images(1, 16, 8, 8)
    before = pooling(x)

    blur_strided(nn.ModuleList([pooling, strided(16)]))

    assert torch.equal(pooling(x), before)


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        ("vit", {}, "3"),
        ("xcit", {}, "3, 8"),
        ("convnext", {"stem": "patch", "depths": [1], "widths": [16]}, "3"),
        ("resnet", {"depths": [1], "widths": [16]}, "none"),
        ("timm", {"name": "test_vit"}, "3"),
    ],
)
def test_a_model_with_nothing_to_blur_is_refused(
    family: str, changes: dict[str, Any], found: str
) -> None:
    config = tiny(family, blur_pool=True, **changes)
    words = (
        rf"blur_pool=true blurs .* at least 16 inputs .* lacks \(inputs .*: {found}\); "
        "set blur_pool to false, or take a conv stem or stages with wider layers"
    )

    with torch.device("meta"), pytest.raises(ValueError, match=words):
        build_model(config, num_classes=3, resolution=32)


def test_both_branches_of_a_resnet_block_are_blurred() -> None:
    network = tiny_resnet()
    blurred = copy.deepcopy(network)

    blur_strided(blurred)

    changed: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            x = images(1, module.in_channels, 8, 8)
            if not torch.equal(blurred.get_submodule(name)(x), module(x)):
                changed.append(name)
    assert changed == ["layer2.0.conv2", "layer2.0.downsample.0"]


def test_weights_and_buffers_keep_their_names() -> None:
    network = tiny_resnet()
    before = {name: value.shape for name, value in network.state_dict().items()}

    blur_strided(network)

    assert {name: value.shape for name, value in network.state_dict().items()} == before


def test_a_copy_and_a_model_with_loaded_weights_compute_the_same() -> None:
    network, loaded = tiny_resnet(), tiny_resnet()
    blur_strided(network)
    blur_strided(loaded)
    file = io.BytesIO()
    x = images(2, 3, 8, 8)

    torch.save(network.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))

    assert torch.equal(copy.deepcopy(network)(x), network(x))
    assert torch.equal(loaded(x), network(x))


@torch.no_grad()
def test_a_traced_model_is_blurred_too() -> None:
    network = tiny_resnet()
    blur_strided(network)
    x = images(2, 3, 8, 8)

    # dynamo's own backend: what `torch.compile` traces, without its code generator.
    compiled = torch.compile(network, backend="eager")

    torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("family", ["convnext", "resnet"])
def test_blur_pool_changes_what_is_computed_and_no_weight(family: str) -> None:
    widths = {"widths": [16, 16], "drop_path": 0.0}
    x = images(2, 3, 8, 8)
    models: list[nn.Module] = []
    for is_on in (False, True):
        config = tiny(family, blur_pool=is_on, **widths)
        torch.manual_seed(0)
        models.append(build_model(config, num_classes=3, resolution=8).eval())

    sharp, blurred = models

    assert all(
        torch.equal(a, b) for a, b in zip(sharp.parameters(), blurred.parameters(), strict=True)
    )
    assert not torch.allclose(sharp(x), blurred(x))


def test_blurred_models_can_be_counted_without_memory() -> None:
    with torch.device("meta"):
        model = build_model(tiny("resnet", blur_pool=True), num_classes=3, resolution=8)
        logits = model(torch.empty(2, 3, 8, 8))

    assert logits.shape == (2, 3)
