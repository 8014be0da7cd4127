"""Frozen parts do not move, whatever a step of training does."""

import re
from typing import Any

import pytest
import torch
from family_factory import tiny
from torch import Tensor, nn

from models.freeze import freeze, train_mode
from models.registry import build_model

STAGES = {"convnext": 2, "resnet": 2, "vit": 2, "xcit": 3, "timm": 4}
"""Of the tiny models; an XCiT's class attention counts."""


def build(family: str, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    changes = ({"name": "test_resnet"} if family == "timm" else {"stem_norm": "bn"}) | changes
    return build_model(tiny(family, **changes), num_classes=3, resolution=8)


def changed_by_training(model: nn.Module) -> set[str]:
    """Returns the top-level parts of the network with a tensor that three steps changed."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        train_mode(model)(x).square().sum().backward()
        optimizer.step()
    return {
        part(name) for name, tensor in model.state_dict().items() if differs(tensor, before[name])
    }


def differs(left: Tensor, right: Tensor) -> bool:
    return not torch.equal(left, right)


def part(name: str) -> str:
    """Returns the block or stage of a tensor, or the layer outside of them."""
    name = name.removeprefix("network.")
    found = re.match(r"(stages|blocks|cls_attn_blocks)\.\d+|[^.]+", name)
    assert found is not None
    return found[0]


ALL = {
    "convnext": {"stem", "stages.0", "stages.1", "head"},
    "resnet": {"conv1", "bn1", "layer1", "layer2", "fc"},
    "vit": {"cls_token", "pos_embed", "patch_embed", "blocks.0", "blocks.1", "norm", "head"},
    "xcit": {
        "cls_token",
        "pos_embed",
        "patch_embed",
        "blocks.0",
        "blocks.1",
        "cls_attn_blocks.0",
        "norm",
        "head",
    },
    "timm": {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"},
}
STEM = {
    "convnext": {"stem"},
    "resnet": {"conv1", "bn1"},
    "vit": {"patch_embed"},
    "xcit": {"patch_embed"},
    "timm": {"conv1", "bn1"},
}
FRONT = STEM | {
    "vit": {"cls_token", "pos_embed", "patch_embed"},
    "xcit": {"cls_token", "pos_embed", "patch_embed"},
}
FIRST = {
    "convnext": "stages.0",
    "resnet": "layer1",
    "vit": "blocks.0",
    "xcit": "blocks.0",
    "timm": "layer1",
}


@pytest.mark.parametrize("family", ALL)
def test_nothing_frozen_means_everything_moves(family: str) -> None:
    model = build(family)

    freeze(model, "none")

    assert changed_by_training(model) == ALL[family]


@pytest.mark.parametrize("family", ALL)
def test_a_frozen_stem_keeps_weights_and_statistics(family: str) -> None:
    model = build(family)

    freeze(model, "stem")

    assert changed_by_training(model) == ALL[family] - STEM[family]


@pytest.mark.parametrize("family", ALL)
def test_all_but_the_stem_leaves_only_the_stem_to_move(family: str) -> None:
    model = build(family)

    freeze(model, "all_but_stem")

    assert changed_by_training(model) == STEM[family]


@pytest.mark.parametrize("family", ALL)
def test_the_first_stage_is_frozen_with_all_before_it(family: str) -> None:
    model = build(family)

    freeze(model, "first_1")

    assert changed_by_training(model) == ALL[family] - FRONT[family] - {FIRST[family]}


@pytest.mark.parametrize("family", ALL)
def test_all_stages_can_be_frozen_and_no_more(family: str) -> None:
    model = build(family)
    n = STAGES[family]

    freeze(model, f"first_{n}")

    assert changed_by_training(model) <= {"head", "fc", "norm"}
    with pytest.raises(
        ValueError, match=rf"first_{n + 1} needs as many stages, .* has {n}; freeze"
    ):
        freeze(build(family), f"first_{n + 1}")


def test_nothing_is_dropped_in_frozen_parts() -> None:
    model = build("convnext", drop_path=0.5)

    freeze(model, "first_1")
    train_mode(model)

    modes = {name: m.training for name, m in model.named_modules() if name}
    assert not modes["network.stages.0"]
    assert not modes["network.stages.0.blocks.0.drop_path"]
    assert modes["network.stages.1.blocks.0.drop_path"]
    assert modes["network.head"]


def test_train_mode_returns_from_eval() -> None:
    model = build("resnet").eval()

    assert train_mode(model).training
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    "which", ["first_0", "first_", "first_-1", "first_x", "last_1", "", "first_\u00b2", "stem\n"]
)
def test_other_words_are_refused(which: str) -> None:
    with pytest.raises(ValueError, match=rf"freeze must be none, .* got {re.escape(repr(which))}"):
        freeze(build("convnext"), which)


def test_a_model_without_weights_beside_the_stem_is_refused() -> None:
    model = build("convnext")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("network.stem"))

    with pytest.raises(ValueError, match="freeze=stem leaves nothing to train; freeze less"):
        freeze(model, "stem")


class Plain(nn.Module):
    """A network that says nothing about its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)


def test_parts_that_cannot_be_told_are_refused() -> None:
    model = nn.Module()
    model.add_module("network", Plain())

    with pytest.raises(ValueError, match="the stem of Plain cannot be told"):
        freeze(model, "stem")
    with pytest.raises(ValueError, match="the stages of Plain cannot be told"):
        freeze(model, "first_1")


def test_models_of_timm_without_groups_have_at_least_a_stem() -> None:
    config = tiny("timm", name="poolformer_s12")
    with torch.device("meta"):
        model = build_model(config, num_classes=3, resolution=32)

    freeze(model, "stem")

    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"network.stem.conv.weight", "network.stem.conv.bias"}
