"""ConvNeXts against timm's, published sizes, and parameters counted by hand."""

from typing import Any

import pytest
import timm
import torch
from family_factory import tiny
from timm.layers import DropPath  # pyright: ignore[reportPrivateImportUsage]
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from timm.optim import (
    create_optimizer_v2,  # pyright: ignore[reportPrivateImportUsage, reportUnknownVariableType]
)
from torch import Tensor, nn

from models.convnext import build_convnext
from models.cost import forward_cost

ATTO: dict[str, Any] = {
    "stem": "patch",
    "stem_stride": 4,
    "depths": [2, 2, 6, 2],
    "widths": [40, 80, 160, 320],
    "layer_scale": 1e-6,
}
PUBLISHED: dict[str, Any] = {"stem_stride": 4, "layer_scale": 1e-6}
T_DEPTHS, S_DEPTHS = [3, 3, 9, 3], [3, 3, 27, 3]
T_WIDTHS = [96, 192, 384, 768]
ISOTROPIC = {"stem_stride": 16, "depths": [18], "widths": [384], "layer_scale": 0.0}
ISOTROPIC_STEM = {"stem_convs": 4, "stem_widths": [48, 96, 192, 384], "stem_projection": True}


def build(resolution: int = 8, **changes: Any) -> nn.Module:
    return build_convnext(tiny("convnext", **changes), num_classes=5, resolution=resolution)


def images(resolution: int = 8) -> Tensor:
    return torch.rand(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))


def params(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(m, kind) for m in network.modules())


def test_patch_stem_convnext_computes_what_timm_computes() -> None:
    theirs = timm.create_model(
        "convnext_atto", num_classes=5, conv_mlp=False, drop_path_rate=0
    ).eval()
    ours = build(32, **ATTO).eval()

    ours.load_state_dict(theirs.state_dict())

    torch.testing.assert_close(ours(images(32)), theirs(images(32)))


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"kernel_size": 3}, {"kernel_sizes": 3}),
        ({"kernel_size": 9, "act": "silu"}, {"kernel_sizes": 9, "act_layer": "silu"}),
        ({"norm": "bn", "act": "relu"}, {"norm_layer": "batchnorm2d", "act_layer": "relu"}),
    ],
)
def test_stages_compute_what_timm_computes(
    changes: dict[str, Any], options: dict[str, Any]
) -> None:
    theirs = TimmConvNeXt(
        depths=(1, 2, 1, 1),
        dims=(8, 16, 8, 8),
        ls_init_value=0.5,
        conv_mlp="norm_layer" in options,
        **options,
    )
    shape = {"stem_stride": 4, "depths": [1, 2, 1, 1], "widths": [8, 16, 8, 8]}
    ours = build(32, **shape, layer_scale=0.5, **changes)
    x = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))

    ours.get_submodule("stages").load_state_dict(theirs.stages.state_dict())

    torch.testing.assert_close(ours.get_submodule("stages")(x), theirs.stages(x))


@pytest.mark.parametrize(
    ("model", "config", "params_m", "gmacs"),
    [
        ("T", {"stem": "patch", "depths": T_DEPTHS, "widths": T_WIDTHS}, 28.589, 4.470),
        ("T", {"depths": T_DEPTHS, "widths": T_WIDTHS}, 28.627, 4.601),
        ("S", {"depths": S_DEPTHS, "widths": T_WIDTHS}, 50.262, 8.836),
        (
            "B",
            {
                "depths": S_DEPTHS,
                "widths": [128, 256, 512, 1024],
                "stem_convs": 3,
                "stem_widths": "linear",
            },
            88.753,
            15.904,
        ),
        (
            "L",
            {
                "depths": S_DEPTHS,
                "widths": [192, 384, 768, 1536],
                "stem_convs": 3,
                "stem_widths": [96, 144, 192],
            },
            198.135,
            35.576,
        ),
        ("isotropic S", {**ISOTROPIC, "stem": "patch", "stem_norm": "none"}, 22.309, 4.293),
        ("isotropic S", {**ISOTROPIC, **ISOTROPIC_STEM}, 23.036, 4.671),
    ],
)
def test_published_models_have_the_published_size(
    model: str, config: dict[str, Any], params_m: float, gmacs: float
) -> None:
    measured = forward_cost(
        tiny("convnext", **{**PUBLISHED, **config}), num_classes=1000, resolution=224
    )

    assert round(measured.params_m, 3) == params_m, model
    # fvcore also counts normalisation: 0.3 % here.
    assert measured.gmacs == pytest.approx(gmacs, rel=0.01), model


def test_drop_path_rises_linearly_with_depth_as_in_timm() -> None:
    theirs = timm.create_model("convnext_atto", num_classes=5, drop_path_rate=0.3)
    ours = build(32, **ATTO, drop_path=0.3)

    def rates(model: nn.Module) -> list[float]:
        return [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]

    assert rates(ours) == pytest.approx(rates(theirs))
    assert rates(ours)[-1] == pytest.approx(0.3)


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_weights_start_as_in_the_paper(stem: str) -> None:
    torch.manual_seed(0)
    network = build(32, **{**ATTO, "stem": stem})

    for name, weights in network.named_parameters():
        if weights.ndim > 1 and weights.numel() > 5_000:
            assert weights.std().item() == pytest.approx(0.02, rel=0.1), name
        if name.endswith("bias"):
            assert not weights.any(), name
    assert network.get_parameter("stem.0.weight").std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_any_number_of_stages_can_be_built(stages: int) -> None:
    network = build(depths=[1] * stages, widths=[8, 16, 32][:stages])

    assert network(images()).shape == (2, 5)
    assert len(list(network.get_submodule("stages").children())) == stages


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize("stem_stride", [1, 2, 4, 8])
def test_the_stem_and_each_later_stage_shrink_the_image(stem: str, stem_stride: int) -> None:
    network = build(16, stem=stem, stem_stride=stem_stride, stem_convs=3, stem_widths="linear")

    x = network.get_submodule("stem")(images(16))
    features = network.get_submodule("stages")(x)

    assert x.shape == (2, 8, 16 // stem_stride, 16 // stem_stride)
    assert features.shape == (2, 16, 8 // stem_stride, 8 // stem_stride)


@pytest.mark.parametrize("layer_scale", [0.0, 0.5])
def test_layer_scale_of_zero_leaves_it_out(layer_scale: float) -> None:
    network = build(layer_scale=layer_scale)

    gammas = [p for name, p in network.named_parameters() if name.endswith("gamma")]

    assert len(gammas) == (3 if layer_scale else 0)
    assert all((g == layer_scale).all() for g in gammas)


@pytest.mark.parametrize("kernel_size", [3, 5, 9, 11, 13])
def test_the_kernel_size_is_that_of_the_depthwise_convolutions(kernel_size: int) -> None:
    more = params(build(kernel_size=kernel_size)) - params(build(kernel_size=7))

    assert more == (8 + 2 * 16) * (kernel_size**2 - 49)  # channels of the three blocks


@pytest.mark.parametrize(
    ("share", "hidden"), [(0.25, (2, 4)), (1.0, (8, 16)), (1 / 16, (1, 1)), (0.01, (1, 1))]
)
def test_squeeze_excitation_adds_two_layers_behind_each_depthwise_convolution(
    share: float, hidden: tuple[int, int]
) -> None:
    more = params(build(squeeze_excitation=share)) - params(build())

    gates = [2 * c * r + r + c for c, r in zip((8, 16), hidden, strict=True)]
    assert more == gates[0] + 2 * gates[1]


def test_a_gate_scales_the_channels_of_the_depthwise_convolution() -> None:
    torch.manual_seed(0)
    block = build(squeeze_excitation=0.5).get_submodule("stages.0.blocks.0")
    x = torch.rand(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    convolution, gate = block.get_submodule("conv_dw").children()
    y = convolution(x)

    squeezed = gate.get_submodule("fc1")(y.mean((2, 3), keepdim=True)).relu()
    expected = y * gate.get_submodule("fc2")(squeezed).sigmoid()

    torch.testing.assert_close(block.get_submodule("conv_dw")(x), expected)


def test_batch_norm_takes_the_place_of_layer_norm_before_the_head() -> None:
    network = build(norm="bn", stem_norm="bn")

    # Two in the stem, one in each block, one before downsampling; one in the head.
    assert count(network, nn.BatchNorm2d) == 2 + 3 + 1
    assert count(network, nn.LayerNorm) == 1
    assert params(network) == params(build()) - (4 + 8)  # no biases in the stem


@pytest.mark.parametrize(("act", "kind"), [("relu", nn.ReLU), ("silu", nn.SiLU)])
def test_the_activation_is_that_of_the_blocks(act: str, kind: type[nn.Module]) -> None:
    network = build(act=act, stem_act="gelu")

    assert (count(network, kind), count(network, nn.GELU)) == (3, 2)


def test_head_dropout_zeroes_features_of_the_last_layer_in_training() -> None:
    network = build(head_dropout=0.5, depths=[1], widths=[512])
    seen: list[Tensor] = []
    network.get_submodule("head.fc").register_forward_pre_hook(lambda _, x: seen.append(x[0]))

    network.eval()(images())
    network.train()(images())

    full, dropped = seen
    kept = dropped != 0
    assert 0.4 < kept.float().mean().item() < 0.6
    torch.testing.assert_close(dropped[kept], 2 * full[kept])


@pytest.mark.parametrize("squeeze_excitation", [0.0, 0.25])
@pytest.mark.parametrize("norm", ["ln", "bn"])
def test_every_weight_gets_a_gradient(norm: str, squeeze_excitation: float) -> None:
    torch.manual_seed(0)
    network = build(
        norm=norm, squeeze_excitation=squeeze_excitation, layer_scale=0.5, stem_projection=True
    )

    network(images()).square().sum().backward()

    for name, weights in network.named_parameters():
        assert weights.grad is not None, name
        assert weights.grad.isfinite().all(), name


def test_layer_decay_slows_the_stem_most_and_the_head_not_at_all() -> None:
    network = build(stem="conv", squeeze_excitation=0.5)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1.0, layer_decay=0.5)
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}

    found = {name: scales[id(p)] for name, p in network.named_parameters()}

    # stem, block, downsampling with its block, block, head
    assert found["stem.3.weight"] == found["stem.0.weight"] == 0.5**4
    assert found["stages.0.blocks.0.conv_dw.0.weight"] == 0.5**3
    assert found["stages.1.downsample.1.weight"] == 0.5**2
    assert found["stages.1.blocks.1.mlp.fc1.weight"] == 0.5
    assert found["head.fc.weight"] == found["head.norm.weight"] == 1.0


def test_too_many_stages_for_the_image_are_refused() -> None:
    with pytest.raises(ValueError, match="need resolution >= 16, got 8; take fewer stages"):
        build(depths=[1] * 4, widths=[8] * 4)


def test_one_pixel_may_be_left_for_the_last_stage() -> None:
    assert build(depths=[1] * 3, widths=[8] * 3)(images()).isfinite().all()
