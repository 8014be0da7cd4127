"""Models against timm's own, and the mistakes a user can make."""

import pytest
import timm
import torch
from timm.layers import DropPath  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from models.config import ConvNeXtConfig, TimmConfig
from models.registry import build_model

TINY = ConvNeXtConfig(
    family="convnext",
    stem="conv",
    stem_stride=2,
    depths=(1, 2),
    widths=(8, 16),
    layer_scale=0,
    drop_path=0,
    normalize="half",
)
ATTO = TINY.model_copy(
    update={
        "stem": "patch",
        "stem_stride": 4,
        "depths": (2, 2, 6, 2),
        "widths": (40, 80, 160, 320),
        "layer_scale": 1e-6,
        "normalize": "none",
    }
)


def network_of(model: nn.Module) -> nn.Module:
    return model.get_submodule("network")


def test_patch_stem_convnext_computes_what_timm_computes() -> None:
    theirs = timm.create_model(
        "convnext_atto", num_classes=5, conv_mlp=False, drop_path_rate=0
    ).eval()
    ours = build_model(ATTO, num_classes=5, resolution=32).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    network_of(ours).load_state_dict(theirs.state_dict())

    torch.testing.assert_close(ours(x), theirs(x))


def test_drop_path_rises_linearly_with_depth_as_in_timm() -> None:
    theirs = timm.create_model("convnext_atto", num_classes=5, drop_path_rate=0.3)
    config = ATTO.model_copy(update={"drop_path": 0.3})
    ours = build_model(config, num_classes=5, resolution=32)

    def rates(model: nn.Module) -> list[float]:
        return [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]

    assert rates(ours) == pytest.approx(rates(theirs))
    assert rates(ours)[-1] == pytest.approx(0.3)


def test_weights_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    model = build_model(ATTO, num_classes=5, resolution=32)

    for name, weights in model.named_parameters():
        if weights.ndim > 1 and weights.numel() > 10_000:
            assert weights.std().item() == pytest.approx(0.02, rel=0.1), name
        if name.endswith("bias"):
            assert not weights.any(), name


def test_one_seed_gives_one_model() -> None:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def logits(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build_model(TINY, num_classes=3, resolution=8).eval()(x)

    assert torch.equal(logits(1), logits(1))
    assert not torch.equal(logits(1), logits(2))


def test_normalisation_is_inside_the_model() -> None:
    model = build_model(TINY, num_classes=3, resolution=8).eval()
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(model(x), network_of(model)(2 * x - 1))


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_any_number_of_stages_can_be_built(stages: int) -> None:
    config = TINY.model_copy(update={"depths": (1,) * stages, "widths": (8, 16, 32)[:stages]})

    model = build_model(config, num_classes=3, resolution=8)

    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize("layer_scale", [0.0, 0.5])
def test_layer_scale_of_zero_leaves_it_out(layer_scale: float) -> None:
    config = TINY.model_copy(update={"layer_scale": layer_scale})

    gammas = [
        p
        for name, p in build_model(config, num_classes=3, resolution=8).named_parameters()
        if name.endswith("gamma")
    ]

    assert len(gammas) == (3 if layer_scale else 0)
    assert all((g == layer_scale).all() for g in gammas)


def test_too_many_stages_for_the_image_are_refused() -> None:
    config = TINY.model_copy(update={"depths": (1,) * 4, "widths": (8,) * 4})

    with pytest.raises(ValueError, match="need resolution >= 16, got 8; take fewer stages"):
        build_model(config, num_classes=3, resolution=8)


@pytest.mark.parametrize(
    ("name", "drop_path", "resolution"),
    [("resnet18", 0.1, 32), ("vgg11", 0.0, 32), ("vit_tiny_patch16_224", 0.1, 32)],
)
def test_timm_models_take_the_resolution_and_the_classes(
    name: str, drop_path: float, resolution: int
) -> None:
    config = TimmConfig(family="timm", name=name, drop_path=drop_path, normalize="imagenet")

    with torch.device("meta"):
        model = build_model(config, num_classes=7, resolution=resolution)
        logits = model(torch.empty(2, 3, resolution, resolution))

    assert logits.shape == (2, 7)


def test_a_misspelt_timm_name_gets_the_nearest_ones() -> None:
    config = TimmConfig(family="timm", name="resnet81", drop_path=0, normalize="none")

    with pytest.raises(ValueError, match=r"no model 'resnet81'; nearest: .*resnet18.*list_models"):
        build_model(config, num_classes=3, resolution=32)


def test_drop_path_for_a_model_without_it_is_refused() -> None:
    config = TimmConfig(family="timm", name="vgg11", drop_path=0.1, normalize="none")

    with pytest.raises(ValueError, match="vgg11 has no stochastic depth; set drop_path to 0"):
        build_model(config, num_classes=3, resolution=32)
