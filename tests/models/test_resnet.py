"""ResNets against timm's, published sizes, and parameters counted by hand."""

import math
from functools import partial
from typing import Any

import pytest
import timm
import torch
from family_factory import tiny
from timm.layers import (
    DropPath,  # pyright: ignore[reportPrivateImportUsage]
    LayerNorm2d,  # pyright: ignore[reportPrivateImportUsage]
    SEModule,  # pyright: ignore[reportPrivateImportUsage]
)
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.resnet import ResNet as TimmResNet
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
)
from torch import Tensor, nn

from models.cost import forward_cost
from models.resnet import build_resnet

WIDTHS = [64, 128, 256, 512]
RESNET_50: dict[str, Any] = {"stem_stride": 4, "depths": [3, 4, 6, 3], "widths": WIDTHS}


def build(resolution: int = 8, **changes: Any) -> nn.Module:
    return build_resnet(tiny("resnet", **changes), num_classes=5, resolution=resolution)


def images(resolution: int = 8) -> Tensor:
    return torch.rand(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


def params(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet18", {"block": "basic", "depths": [2, 2, 2, 2]}),
        ("resnet34", {"block": "basic"}),
        ("resnet50", {}),
        ("resnet101", {"depths": [3, 4, 23, 3]}),
        ("wide_resnet50_2", {"bottleneck_ratio": 2.0}),
        ("seresnet50", {"squeeze_excitation": 1 / 16}),
    ],
)
def test_weights_have_the_names_and_shapes_of_timm(name: str, changes: dict[str, Any]) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=5)
        ours = build(224, **{**RESNET_50, **changes})

    def shapes(model: nn.Module) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in model.state_dict().items()}

    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize(
    ("block", "changes", "options"),
    [
        ("basic", {}, {}),
        ("bottleneck", {}, {}),
        ("bottleneck", {"bottleneck_ratio": 2.0}, {"base_width": 128}),
        ("bottleneck", {"act": "gelu"}, {"act_layer": "gelu"}),
        ("basic", {"act": "silu"}, {"act_layer": "silu"}),
        ("basic", {"norm": "ln"}, {"norm_layer": LayerNorm2d}),
        (
            "bottleneck",
            {"squeeze_excitation": 0.25},
            {"block_args": {"attn_layer": partial(SEModule, rd_ratio=0.25)}},
        ),
    ],
)
def test_it_computes_what_timm_computes(
    block: str, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    kind = BasicBlock if block == "basic" else Bottleneck
    torch.manual_seed(0)
    theirs = TimmResNet(
        kind,  # pyright: ignore[reportArgumentType]
        (1, 2, 1, 1),
        num_classes=5,
        channels=(64, 8, 16, 8),
        zero_init_last=False,
        **options,
    )
    ours = build(
        32, stem_stride=4, block=block, depths=[1, 2, 1, 1], widths=[64, 8, 16, 8], **changes
    )

    ours.load_state_dict(theirs.state_dict())

    torch.testing.assert_close(ours(images(32)), theirs(images(32)))


@pytest.mark.parametrize(
    ("bottleneck_ratio", "params_m", "gmacs"), [(1.0, 25.557, 4.112), (2.0, 68.883, 11.427)]
)
def test_published_models_have_the_published_size(
    bottleneck_ratio: float, params_m: float, gmacs: float
) -> None:
    config = tiny("resnet", **RESNET_50, bottleneck_ratio=bottleneck_ratio)

    measured = forward_cost(config, num_classes=1000, resolution=224)

    assert round(measured.params_m, 3) == params_m
    # fvcore also counts normalisation: 0.6 % here.
    assert measured.gmacs == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize(
    ("stem_stride", "kernel_size", "stride", "pools"), [(4, 7, 2, 1), (2, 3, 2, 0), (1, 3, 1, 0)]
)
def test_only_the_stem_of_stride_four_pools(
    stem_stride: int, kernel_size: int, stride: int, pools: int
) -> None:
    network = build(stem_stride=stem_stride)

    conv1 = network.get_submodule("conv1")

    assert isinstance(conv1, nn.Conv2d)
    assert (conv1.kernel_size, conv1.stride) == ((kernel_size,) * 2, (stride,) * 2)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.children()) == pools


@pytest.mark.parametrize("stem", ["pool", "patch", "conv"])
@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_the_stem_and_each_later_stage_shrink_the_image(stem: str, stem_stride: int) -> None:
    network = build(16, stem=stem, stem_stride=stem_stride)
    x = images(16)
    sides: list[int] = []

    for layer in network.children():
        x = layer(x)
        if x.ndim == 4:
            sides.append(x.shape[-1])

    # The last two feature maps are those of the stages.
    assert sides[-2:] == [16 // stem_stride, 8 // stem_stride]
    assert x.shape == (2, 5)


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_any_number_of_stages_can_be_built(stages: int) -> None:
    network = build(16, depths=[1] * stages, widths=[8] * stages)

    assert network(images(16)).isfinite().all()
    assert sum(name.startswith("layer") for name, _ in network.named_children()) == stages


def test_the_thinnest_bottleneck_has_one_channel() -> None:
    network = build(bottleneck_ratio=0.125)

    assert network.get_parameter("layer1.0.conv2.weight").shape == (1, 1, 3, 3)
    assert network(images()).isfinite().all()


@pytest.mark.parametrize(("share", "hidden"), [(0.25, (8, 16)), (1 / 16, (2, 4)), (0.001, (1, 1))])
def test_squeeze_excitation_adds_two_layers_to_each_block(
    share: float, hidden: tuple[int, int]
) -> None:
    more = params(build(squeeze_excitation=share)) - params(build())

    gates = [2 * c * r + r + c for c, r in zip((32, 64), hidden, strict=True)]
    assert more == gates[0] + 2 * gates[1]


def test_drop_path_rises_linearly_with_depth_as_in_timm() -> None:
    with torch.device("meta"):
        theirs = timm.create_model("resnet50", drop_path_rate=0.3)
        ours = build(224, **RESNET_50, drop_path=0.3)

    def rates(model: nn.Module) -> list[float]:
        return [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]

    assert rates(ours) == pytest.approx(rates(theirs))
    assert rates(ours)[-1] == pytest.approx(0.3)


def test_the_only_block_of_a_network_is_never_dropped() -> None:
    network = build(depths=[1], widths=[8], drop_path=0.3)

    assert not [m for m in network.modules() if isinstance(m, DropPath)]


@pytest.mark.parametrize("stem", ["pool", "patch", "conv"])
def test_convolutions_start_as_in_timm(stem: str) -> None:
    torch.manual_seed(0)
    network = build(stem=stem, stem_stride=2, widths=[64, 64])

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            expected = math.sqrt(2 / fan_out)
            assert module.weight.std().item() == pytest.approx(expected, rel=0.15), name


@pytest.mark.parametrize("norm", ["bn", "ln"])
def test_blocks_start_as_their_shortcuts(norm: str) -> None:
    torch.manual_seed(0)
    block = build(norm=norm).get_submodule("layer2.1")
    x = torch.randn(2, 64, 4, 4, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(block(x), x.relu())


def test_layer_norm_takes_the_place_of_batch_norm() -> None:
    network = build(norm="ln")

    # One in the stem, three in each of three blocks, one in each of two shortcuts.
    assert sum(isinstance(m, LayerNorm2d) for m in network.modules()) == 1 + 9 + 2
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def test_head_dropout_zeroes_features_of_the_last_layer_in_training() -> None:
    network = build(head_dropout=0.5, depths=[1], widths=[128], norm="ln")
    seen: list[Tensor] = []
    network.get_submodule("fc").register_forward_pre_hook(lambda _, x: seen.append(x[0]))

    network.eval()(images())
    network.train()(images())

    full, dropped = seen
    kept = dropped != 0
    assert 0.4 < kept.float().mean().item() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * full[kept])


@pytest.mark.parametrize("act", ["relu", "gelu", "silu"])
@pytest.mark.parametrize("norm", ["bn", "ln"])
def test_every_weight_gets_a_gradient(act: str, norm: str) -> None:
    torch.manual_seed(0)
    network = build(act=act, norm=norm, squeeze_excitation=0.25)

    network(images()).square().sum().backward()

    for name, weights in network.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.isfinite().all(), name


def test_recomputed_activations_give_the_same_gradient_and_keep_less() -> None:
    network = build(depths=[3, 3], norm="ln", widths=[8, 8])
    kept = [0, 0]
    gradients: list[Tensor] = []
    x = images().requires_grad_()

    for is_on in (False, True):

        def count(tensor: Tensor, is_on: bool = is_on) -> Tensor:
            kept[is_on] += tensor.numel()
            return tensor

        network.set_grad_checkpointing(is_on)  # pyright: ignore[reportCallIssue]
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            gradients += torch.autograd.grad(network(x).square().sum(), x)

    torch.testing.assert_close(gradients[0], gradients[1])
    assert kept[True] < 0.8 * kept[False]


@pytest.mark.parametrize("stem", ["pool", "patch", "conv"])
def test_layer_decay_slows_the_stem_most_and_the_head_not_at_all(stem: str) -> None:
    network = build(stem=stem)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1.0, layer_decay=0.5)
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}

    found = {name: scales[id(p)] for name, p in network.named_parameters()}

    # stem, three blocks, head
    assert {found[name] for name in found if name.startswith(("conv1", "bn1"))} == {0.5**4}
    assert found["layer1.0.conv1.weight"] == found["layer1.0.bn1.weight"] == 0.5**3
    assert found["layer2.0.downsample.0.weight"] == 0.5**2
    assert found["layer2.1.conv1.weight"] == 0.5
    assert found["fc.weight"] == 1.0


def test_too_many_stages_for_the_image_are_refused() -> None:
    with pytest.raises(
        ValueError, match="3 stages after stem_stride 4 need resolution >= 16, got 8; take fewer"
    ):
        build(stem_stride=4, depths=[1] * 3, widths=[8] * 3)
