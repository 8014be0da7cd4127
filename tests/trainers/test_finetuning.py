"""A trained model of 12 classes and 32 pixels as the start of another training.

Both as training leaves it, in a checkpoint, and as it is exported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from base_trial import base_trial
from family_factory import tiny
from timm.layers import (
    resample_abs_pos_embed,  # pyright: ignore[reportPrivateImportUsage]
    resample_patch_embed,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor, nn
from trial_factory import CHECK, random_images, tiny_trial

from models.ema import Ema
from models.layouts import export_weights
from models.registry import build_model
from trainers.checkpoint import TrainState, save_checkpoint
from trainers.config import TrialConfig
from trainers.group import alone
from trainers.loop import fit
from trainers.start import load_start

FILES = ["checkpoint", "export"]
FAMILIES = ["convnext", "resnet", "vit", "xcit"]
HEADS = ("head.weight", "head.bias", "head.fc.weight", "head.fc.bias", "fc.weight", "fc.bias")


def trial(model: Any, **changes: Any) -> TrialConfig:
    """Returns a trial of `model` on images of 32 pixels."""
    data = {"resolution": 32, **changes.pop("data", {})}
    tree = {**base_trial(data=data, **changes), "model": model.model_dump()}
    return TrialConfig.model_validate(tree)


def build(config: TrialConfig, *, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(config.model, num_classes=classes, resolution=config.data.resolution).eval()


def trained(config: TrialConfig) -> nn.Module:
    """Returns a model whose every tensor has moved, also the statistics of batch norm."""
    model = build(config, classes=12, seed=1)
    generator = torch.Generator().manual_seed(7)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    return model


def written(config: TrialConfig, model: nn.Module, kind: str, folder: Path) -> str:
    """Writes the model: a checkpoint holds it as the average, beside raw weights of zeros."""
    if kind == "export":
        path = folder / "model.safetensors"
        export_weights(model, path, layout="rampart", config=config.model)
        return str(path)
    raw = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    ema = Ema(model, decay=0.9).state_dict()
    path = folder / "e00003-s000000.pt"
    torch.save({"config": config.model_dump_json(), "model": raw, "ema": ema}, path)
    return str(path)


def started(model: Any, init: str, *allow: str, classes: int, resolution: int = 32) -> nn.Module:
    """Returns what a trial of `model` begins with, from a file and beside it random weights."""
    config = trial(
        model, data={"resolution": resolution}, weights={"init": init, "allow": list(allow)}
    )
    network = build(config, classes=classes, seed=2)
    assert load_start(network, config, None).startswith(init)
    return network


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.get_submodule("network").state_dict())


def assert_same(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], *but: str) -> None:
    """Compares bit for bit, name by name, all but some."""
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert different == set(but)


def train(config: TrialConfig) -> TrainState:
    """Returns the end of a training of one epoch."""
    (state,) = fit(
        config,
        images=random_images(24),
        rungs=(),
        evaluate=lambda _, __: CHECK,
        group=alone(torch.device("cpu")),
        resume=None,
        start=None,
    )
    return state


def images(side: int) -> Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("family", FAMILIES)
def test_other_classes_get_a_new_head_and_all_else_is_the_same(
    family: str, kind: str, tmp_path: Path
) -> None:
    config = trial(tiny(family))
    source = trained(config)
    init = written(config, source, kind, tmp_path)

    model = started(config.model, init, "head", classes=20)

    fresh = tensors(build(config, classes=20, seed=2))
    heads = [name for name in fresh if name in HEADS]
    assert len(heads) == 2
    assert_same(tensors(model), tensors(source), *heads)
    assert all(torch.equal(tensors(model)[name], fresh[name]) for name in heads)


def test_other_classes_are_refused_unless_the_head_may_differ(tmp_path: Path) -> None:
    config = trial(tiny("convnext"))
    init = written(config, trained(config), "checkpoint", tmp_path)

    with pytest.raises(ValueError, match=r"head\.fc\.bias is \(12,\) there, \(20,\) in the model"):
        started(config.model, init, classes=20)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("family", ["convnext", "resnet", "xcit"])
@pytest.mark.parametrize("resolution", [16, 64])
def test_without_learned_positions_another_resolution_changes_no_weight(
    family: str, resolution: int, kind: str, tmp_path: Path
) -> None:
    config = trial(tiny(family))
    source = trained(config)
    init = written(config, source, kind, tmp_path)

    model = started(config.model, init, classes=12, resolution=resolution)

    assert_same(tensors(model), tensors(source))
    torch.testing.assert_close(model(images(resolution)), source(images(resolution)))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("resolution", [16, 64])
@pytest.mark.parametrize(("class_token", "slots"), [("positioned", 1), ("unpositioned", 0)])
def test_learned_positions_are_interpolated_to_another_resolution(
    class_token: str, slots: int, resolution: int, kind: str, tmp_path: Path
) -> None:
    config = trial(tiny("vit", class_token=class_token))
    source = trained(config)
    init = written(config, source, kind, tmp_path)

    model = started(config.model, init, "position", "head", classes=20, resolution=resolution)

    ours, theirs = tensors(model), tensors(source)
    side = resolution // 4
    expected = resample_abs_pos_embed(
        theirs["pos_embed"], new_size=[side, side], num_prefix_tokens=slots
    )
    torch.testing.assert_close(ours["pos_embed"], expected)
    assert ours["pos_embed"].shape[1] == side**2 + slots
    assert_same({**ours, "pos_embed": theirs["pos_embed"]}, theirs, "head.weight", "head.bias")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("patch_size", "kept"), [(8, [0]), (4, [0, 2]), (2, [0, 2, 4])])
def test_an_xcit_for_smaller_patches_is_the_published_one_with_other_strides(
    patch_size: int, kept: list[int], kind: str, tmp_path: Path
) -> None:
    """Debenedetti et al.: stride 1 in convolutions 0, 2, ... of the stem; all its weights stay."""
    model = tiny("xcit", patch_size=16, stem_convs=4, width=32)
    config = trial(model)
    source = trained(config)
    init = written(config, source, kind, tmp_path)

    adapted = started(model.model_copy(update={"patch_size": patch_size}), init, "head", classes=10)

    assert_same(tensors(adapted), tensors(source), "head.weight", "head.bias")
    published: Any = source.get_submodule("network")
    for index in kept:
        published.patch_embed.proj[index][0].stride = (1, 1)
    ours: Any = adapted.get_submodule("network")
    tokens, grid = ours.patch_embed(images(32))
    assert grid == (32 // patch_size, 32 // patch_size)
    torch.testing.assert_close(tokens, published.patch_embed(images(32))[0])
    torch.testing.assert_close(
        ours.forward_features(images(32)), published.forward_features(images(32))
    )


def test_an_xcit_with_fewer_convolutions_for_smaller_patches_is_refused(tmp_path: Path) -> None:
    config = trial(tiny("xcit", patch_size=16, stem_convs=4, width=32))
    init = written(config, trained(config), "export", tmp_path)

    with pytest.raises(ValueError, match=r"patch_embed\.proj\.0\.0\.weight is \(4, .* \(16, "):
        started(tiny("xcit", patch_size=4, stem_convs=2, width=32), init, "head", classes=10)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("family", ["convnext", "vit"])
def test_a_patch_stem_is_resampled_to_smaller_patches(
    family: str, kind: str, tmp_path: Path
) -> None:
    field = "patch_size" if family == "vit" else "stem_stride"
    theirs = tiny(family, **{"stem": "patch", field: 4})
    config = trial(theirs)
    source = trained(config)
    init = written(config, source, kind, tmp_path)

    ours = theirs.model_copy(update={field: 2})
    model = started(ours, init, "stem", "position", "head", classes=20)

    name = "patch_embed.proj.weight" if family == "vit" else "stem.0.weight"
    after, before = tensors(model), tensors(source)
    torch.testing.assert_close(after[name], resample_patch_embed(before[name], [2, 2]))
    changed = {name, "pos_embed"} & before.keys()
    heads = [n for n in before if n in HEADS]
    assert_same({**after, **{n: before[n] for n in changed}}, before, *heads)


@pytest.mark.parametrize("kind", FILES)
def test_another_normalisation_leaves_all_weights_where_it_may_differ(
    kind: str, tmp_path: Path
) -> None:
    """Published fine-tuning puts a normalisation in front of a model that was trained without."""
    theirs = tiny("xcit", normalize="none")
    config = trial(theirs)
    source = trained(config)
    init = written(config, source, kind, tmp_path)
    ours = theirs.model_copy(update={"normalize": "half"})

    with pytest.raises(
        ValueError, match=r"set model\.normalize to none, allow a difference in normalize, or take"
    ):
        started(ours, init, classes=12)
    model = started(ours, init, "normalize", classes=12)

    assert_same(tensors(model), tensors(source))
    x = images(32)
    torch.testing.assert_close(model(x), source((x - 0.5) / 0.5))
    assert not torch.allclose(model(x), source(x))


def test_a_difference_in_normalisation_does_not_allow_one_in_blurring(tmp_path: Path) -> None:
    theirs = tiny("resnet", blur_pool=True, widths=[16, 32])
    config = trial(theirs)
    init = written(config, trained(config), "checkpoint", tmp_path)
    ours = theirs.model_copy(update={"blur_pool": False, "normalize": "half"})

    with pytest.raises(ValueError, match=r"model\.blur_pool=true, not false"):
        started(ours, init, "normalize", classes=12)


def test_all_at_once_as_published_from_imagenet_to_cifar(tmp_path: Path) -> None:
    """Other classes, another resolution, smaller patches and a normalisation, in one start."""
    theirs = tiny("xcit", patch_size=16, stem_convs=4, width=32, normalize="none")
    config = trial(theirs, data={"resolution": 64}, threat={"eps": "4/255"})
    source = trained(config)
    init = written(config, source, "checkpoint", tmp_path)

    ours = theirs.model_copy(update={"patch_size": 4, "normalize": "cifar"})
    model = started(ours, init, "head", "normalize", classes=10)

    assert_same(tensors(model), tensors(source), "head.weight", "head.bias")
    assert model(images(32)).shape == (3, 10)


@pytest.mark.parametrize("threat", [{"norm": "linf", "eps": "8/255"}, {"norm": "l2", "eps": 0.5}])
def test_training_begins_with_the_averaged_weights_of_one_against_another_threat(
    threat: dict[str, Any], tmp_path: Path
) -> None:
    before = train(tiny_trial(epochs=1, ema_horizon=0.5, optim={"lr": 0.01}))
    path = save_checkpoint(tmp_path, before)
    changes = {"init": str(path), "entry": "scored"}

    # So small a rate leaves the weights where they begin.
    after = train(tiny_trial(epochs=1, threat=threat, weights=changes, optim={"lr": 1e-12}))

    assert before.ema is not None
    averaged = {name: before.ema[f"averaged.{name}"] for name in before.model}
    torch.testing.assert_close(dict(after.model), averaged, atol=1e-6, rtol=0)
    assert not all(torch.allclose(averaged[n], before.model[n], atol=1e-5) for n in averaged)
    assert after.progress.start.startswith(str(path))
