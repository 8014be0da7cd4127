"""Every family at tiny size, over the whole of its space: what Hypothesis draws must be a model.

The oracles: a count of parameters on the meta device against real ones, and an input gradient.
"""

import random
from typing import Any

import pytest
import torch
from family_factory import ADAPTER, tiny
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from models.config import FAMILIES, AnyModelConfig
from models.cost import forward_cost
from models.registry import build_model

RESOLUTION, CLASSES = 16, 5
ACT = st.sampled_from(["gelu", "relu", "silu"])
TIMM_STEMS = {
    "resnet10t": ["own"],
    "test_vit": ["own", "conv"],
    "test_convnext": ["own", "conv"],
    "test_efficientnet": ["own"],
    "test_byobnet": ["own"],
}
"""Models of timm with both kinds of dropout, and the stems that they can have."""
COMMON = {
    "drop_path": st.sampled_from([0.0, 0.2]),
    "head_dropout": st.sampled_from([0.0, 0.3]),
    "normalize": st.sampled_from(["none", "half", "imagenet", "cifar"]),
}
STEM = {
    "stem_act": ACT,
    "stem_norm": st.sampled_from(["ln", "bn", "none"]),
    "stem_projection": st.booleans(),
}
STAGES = st.sampled_from([([1], [16]), ([1, 2], [8, 16]), ([2, 1, 1], [16, 8, 24])])
HEADS = st.sampled_from([(16, 2), (24, 3), (32, 1)])


def draw_stem(draw: st.DrawFn, *, width: int, stride: int) -> dict[str, Any]:
    """Draws a stem that ends with `width`; a conv stem of up to 4 convolutions."""
    fields = {name: draw(strategy) for name, strategy in STEM.items()}
    least = max(1, stride.bit_length() - 1)
    convs = draw(st.integers(least, max(least, 4)))
    rules: list[Any] = ["linear"]
    if width % 2 ** (convs - 1) == 0 and width >> (convs - 1) >= 4:
        rules.append("doubling")
    last = draw(st.integers(4, 20)) if fields["stem_projection"] else width
    rules.append(
        [*draw(st.lists(st.integers(4, 20), min_size=convs - 1, max_size=convs - 1)), last]
    )
    return {**fields, "stem_convs": convs, "stem_widths": draw(st.sampled_from(rules))}


def resolution_of(config: AnyModelConfig) -> int:
    return 32 if config.family == "timm" else RESOLUTION


def can_blur(config: AnyModelConfig) -> bool:
    """Whether a strided convolution of the model has 16 inputs; else blur_pool is refused."""
    with torch.device("meta"):
        model = build_model(config, num_classes=CLASSES, resolution=resolution_of(config))
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return any(max(c.stride) > 1 and c.in_channels >= 16 for c in convolutions)


@st.composite
def configs(draw: st.DrawFn) -> AnyModelConfig:
    """Draws a valid config of any family."""
    config = draw(sharp_configs())
    return config.model_copy(update={"blur_pool": can_blur(config) and draw(st.booleans())})


@st.composite
def sharp_configs(draw: st.DrawFn) -> AnyModelConfig:
    """Draws a valid config of any family without blur."""
    family = draw(st.sampled_from(list(FAMILIES)))
    fields: dict[str, Any] = {name: draw(strategy) for name, strategy in COMMON.items()}
    if family == "timm":
        name = draw(st.sampled_from(list(TIMM_STEMS)))
        return tiny("timm", name=name, stem=draw(st.sampled_from(TIMM_STEMS[name])), **fields)
    if family in ("convnext", "resnet"):
        depths, widths = draw(STAGES)
        stride = draw(st.sampled_from([1, 2, 4]))
        fields |= {"depths": depths, "widths": widths, "stem_stride": stride}
        fields |= {"squeeze_excitation": draw(st.sampled_from([0.0, 0.25]))}
        fields |= {"act": draw(ACT), "norm": draw(st.sampled_from(["ln", "bn"]))}
        fields |= draw_stem(draw, width=widths[0], stride=stride)
    else:
        width, heads = draw(HEADS)
        patch = draw(st.sampled_from([2, 4, 8]))
        fields |= {"width": width, "heads": heads, "patch_size": patch}
        fields |= {"depth": draw(st.integers(1, 3)), "mlp_ratio": draw(st.sampled_from([2.0, 4.0]))}
        fields |= {"act": draw(ACT), "norm": draw(st.sampled_from(["ln", "rms"]))}
        fields |= {"stem": draw(st.sampled_from(["patch", "conv"]))}
        fields |= draw_stem(draw, width=width, stride=patch)
    match family:
        case "convnext":
            fields |= {"kernel_size": draw(st.sampled_from([3, 5, 7]))}
            fields |= {"layer_scale": draw(st.sampled_from([0.0, 0.1]))}
            fields |= {"stem": draw(st.sampled_from(["patch", "conv"]))}
        case "resnet":
            block = draw(st.sampled_from(["basic", "bottleneck"]))
            ratio = 1.0 if block == "basic" else draw(st.sampled_from([0.5, 1.0, 2.0]))
            fields |= {"block": block, "bottleneck_ratio": ratio}
            fields |= {"stem": draw(st.sampled_from(["pool", "patch", "conv"]))}
        case "vit":
            tokens = st.sampled_from(["none", "positioned", "unpositioned"])
            fields |= {"class_token": draw(tokens)}
            fields |= {"layer_scale": draw(st.sampled_from([0.0, 0.1]))}
        case _:
            fields |= {"class_depth": draw(st.integers(1, 2)), "tokens_norm": draw(st.booleans())}
            fields |= {"layer_scale": draw(st.sampled_from([0.1, 1.0]))}
    return tiny(family, **fields)


@pytest.mark.slow
# beartype, which checks our packages in tests, draws from `random`.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@seed(0)
@settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(configs())
def test_every_valid_config_is_a_model_of_the_counted_size(config: AnyModelConfig) -> None:
    side = resolution_of(config)
    counted = forward_cost(config, num_classes=CLASSES, resolution=side)
    torch.manual_seed(0)
    model = build_model(config, num_classes=CLASSES, resolution=side).eval()
    x = torch.rand(2, 3, side, side, requires_grad=True)

    logits = model(x)
    # A layer scale of 1e-6 or a zero-initialised norm may hide a block, never the whole input.
    (gradient,) = torch.autograd.grad((logits * torch.randn(2, CLASSES)).sum(), x)

    assert counted.params_m == sum(p.numel() for p in model.parameters()) / 1e6
    assert logits.shape == (2, CLASSES)
    assert logits.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.flatten(1).abs().amax(1).min() > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize(
    ("field", "value"),
    [("blur_pool", True), ("stem", "conv"), ("drop_path", 0.2), ("head_dropout", 0.3)],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_drawn_with_each_common_change(
    family: str, field: str, value: object
) -> None:
    drawn = find(
        configs(),
        lambda config: config.family == family and getattr(config, field) == value,
        settings=settings(max_examples=500, phases=[Phase.generate], database=None),
        random=random.Random(0),
    )

    assert drawn.model_dump()[field] == value


WRONG: dict[str, list[tuple[str, Any]]] = {
    "family": [("family", "vgg"), ("family", 3)],
    "common": [
        ("drop_path", 1.0),
        ("drop_path", -0.1),
        ("head_dropout", 1.5),
        ("blur_pool", "perhaps"),
        ("normalize", "cifar100"),
        ("normalise", "none"),
    ],
    "stem": [
        ("stem", "deep"),
        ("stem_convs", 0),
        ("stem_convs", 9),
        ("stem_widths", "halving"),
        ("stem_widths", [3, 16]),
        ("stem_norm", "gn"),
        ("stem_act", "tanh"),
    ],
    "stages": [
        ("depths", []),
        ("depths", [1]),
        ("depths", [0, 1]),
        ("widths", [8]),
        ("widths", [8, 7]),
        ("widths", "wide"),
        ("stem_stride", 3),
        ("squeeze_excitation", 1.5),
        ("norm", "rms"),
        ("act", "elu"),
        ("patch_size", 4),
        ("heads", 2),
        ("width", 16),
    ],
    "tokens": [
        ("depth", 0),
        ("width", 7),
        ("heads", 5),
        ("heads", 0),
        ("mlp_ratio", 0.0),
        ("patch_size", 0),
        ("patch_size", 65),
        ("norm", "bn"),
        ("act", "elu"),
        ("layer_scale", -1.0),
        ("depths", [1, 1]),
        ("stem_stride", 4),
        ("kernel_size", 7),
    ],
    "convnext": [("kernel_size", 4), ("layer_scale", -1e-6), ("block", "basic"), ("name", "x")],
    "resnet": [
        ("block", "wide"),
        ("bottleneck_ratio", 0.0),
        ("kernel_size", 7),
        ("stem_stride", 8),
    ],
    "vit": [("class_token", "yes"), ("class_depth", 2), ("tokens_norm", True)],
    "xcit": [("class_depth", 0), ("tokens_norm", "perhaps"), ("class_token", "none")],
    "timm": [("stem", "patch"), ("depths", [1]), ("layer_scale", 0.0), ("stem_convs", 2)],
}
KINDS = {
    "convnext": ["stem", "stages", "convnext"],
    "resnet": ["stem", "stages", "resnet"],
    "vit": ["stem", "tokens", "vit"],
    "xcit": ["stem", "tokens", "xcit"],
    "timm": ["timm"],
}
MISTAKES = [
    (family, name, value)
    for family in FAMILIES
    for kind in ["family", "common", *KINDS[family]]
    for name, value in WRONG[kind]
]
CROSSED: list[tuple[str, dict[str, Any], str]] = [
    ("convnext", {"stem": "conv", "stem_convs": 1, "stem_stride": 4}, "stem_convs"),
    ("convnext", {"stem_convs": 3, "stem_widths": [4, 8]}, "stem_widths"),
    ("convnext", {"stem_widths": [4, 6]}, "stem_projection"),
    ("convnext", {"stem_convs": 5, "widths": [8, 16]}, "stem_widths"),
    ("resnet", {"block": "basic", "bottleneck_ratio": 2.0}, "bottleneck_ratio"),
    ("resnet", {"stem": "conv", "stem_convs": 1, "stem_stride": 4}, "stem_convs"),
    ("resnet", {"stem": "conv", "stem_widths": [4, 6]}, "stem_projection"),
    ("vit", {"stem": "conv", "patch_size": 6}, "patch_size"),
    ("vit", {"stem": "conv", "patch_size": 8}, "stem_convs"),
    ("vit", {"width": 18, "heads": 4}, "heads"),
    ("xcit", {"patch_size": 12}, "patch_size"),
    ("xcit", {"patch_size": 32, "stem_convs": 4}, "stem_convs"),
    ("xcit", {"width": 18, "stem_convs": 3, "patch_size": 4}, "stem_widths"),
]
MISSING = [
    (family, name)
    for family, kind in FAMILIES.items()
    for name in kind.model_fields
    if name != "family"
]


def test_there_are_200_mistakes() -> None:
    assert len(MISTAKES) + len(CROSSED) + len(MISSING) >= 200


@pytest.mark.parametrize(
    ("family", "changes", "name"),
    [*((f, {name: value}, name) for f, name, value in MISTAKES), *CROSSED],
)
def test_every_invalid_config_is_refused_with_the_name_of_the_field(
    family: str, changes: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**tiny(family).model_dump(), **changes})

    assert name in str(caught.value).partition("[type=")[0]
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("family", "name"), MISSING)
def test_no_field_has_a_default(family: str, name: str) -> None:
    fields = tiny(family).model_dump()
    del fields[name]

    with pytest.raises(ValidationError, match=rf"{family}\.{name}\n  Field required"):
        ADAPTER.validate_python(fields)
