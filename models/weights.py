"""Weights that come from elsewhere, into a model of `build_model`: what fits, and what may differ.

Nothing is loaded unless everything fits or is allowed to differ.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import timm
import torch
from timm.layers import (
    resample_patch_embed,  # pyright: ignore[reportPrivateImportUsage]
)
from torch import Tensor, nn

from models.anatomy import classifier_modules, is_in, network_of, stem_tensors
from models.config import AnyModelConfig
from models.layouts import bare_names
from models.origin import Origin, check_origin
from models.position import prefix_and_grid, resize_position
from models.pretrained import timm_name

Difference = Literal["head", "position", "stem", "normalize"]
"""`head`: another number of classes. `position`: another grid of patches, or a class token with or
without a position. `stem`: another patch size, or another kind of stem. `normalize`: another mean
and standard deviation in front of the network."""

NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of the tensors of a model and of those that were found, by name."""

    matched: tuple[str, ...]
    adapted: Mapping[str, str]
    """What was done to each, in words."""
    random: tuple[str, ...]
    """Left as the model was initialised."""
    unused: tuple[str, ...]
    """Found, but without a place in the model."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The tensors to load, filled while they are being chosen."""

    loaded: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    adapted: dict[str, str] = field(default_factory=dict[str, str])
    random: list[str] = field(default_factory=list[str])
    unused: list[str] = field(default_factory=list[str])
    differences: dict[str, str] = field(default_factory=dict[str, str])

    def adapt(self, name: str, tensor: Tensor, how: str) -> None:
        """Loads `tensor`, which is not as it was found."""
        self.loaded[name] = tensor
        self.adapted[name] = how

    def differ(self, name: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
        """Notes a difference that is not allowed, in words."""
        if name not in own:
            self.differences[name] = "is there but not in the model"
        elif name not in found:
            self.differences[name] = "is in the model but not there"
        else:
            theirs, mine = tuple(found[name].shape), tuple(own[name].shape)
            self.differences[name] = f"is {theirs} there, {mine} in the model"


def load_weights(
    model: nn.Module, state: Mapping[str, Tensor], *, allow: Collection[Difference]
) -> Report:
    """Copies `state` into a model of `build_model`, completely but for what is allowed to differ.

    Args:
        model: Changed in place, unless an error is raised.
        state: As `read_state` gives it, or a state_dict with any of the prefixes it knows.
        allow: With `head`, a classifier for other classes stays random. With `position`, position
            embeddings are interpolated, and the position of the class token moves into the token or
            out of it. With `stem`, a patch-wise convolution is resampled to another patch size
            (Beyer et al. 2023, arXiv:2212.08013), and any other stem stays random as a whole.
            Tensors do not show a `normalize`: `check_origin` looks for it.

    Raises:
        ValueError: If anything else differs; names up to five differences.
    """
    network = network_of(model)
    own, found = network.state_dict(), bare_names(state)
    fit = Fit()
    stem = stem_tensors(network, {*own, *found}) if "stem" in allow else set[str]()
    if _agree(own, found, stem):
        stem = set[str]()
    else:
        _fit_stem(fit, network, own, found, stem)
    classifier = classifier_modules(network) if "head" in allow else ()
    for name in own.keys() - stem:
        _fit_tensor(fit, name, own, found, classifier=classifier, allow=allow)
    for name in found.keys() - own.keys() - stem:
        if not is_in(name, classifier):
            fit.differ(name, own, found)
        fit.unused.append(name)
    if fit.differences:
        raise ValueError(refusal(fit.differences, allow=allow))
    return write(own, fit)


def load_pretrained(
    model: nn.Module, config: AnyModelConfig, *, allow: Collection[Difference]
) -> Report:
    """Loads the weights that timm's hub has for the architecture of `config`; see `load_weights`.

    Raises:
        ValueError: If the hub has none or cannot be reached, if they are for another
            normalisation, without `normalize` in `allow`, or as `load_weights`.
    """
    name = timm_name(config)
    check_origin(name, _origin(name), config, allow=allow)
    try:
        state = timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"pretrained weights of {name} must come from timm's hub, which cannot be reached "
            f"({reason}); download the file elsewhere and set init to its path"
        ) from error
    return load_weights(model, state, allow=allow)


def describe(report: Report) -> str:
    """Returns one line for a log: counts, and names where weights are not as they were found."""
    adapted = [f"{name}: {how}" for name, how in sorted(report.adapted.items())]
    return (
        f"matched={len(report.matched)} adapted={_summary(adapted)} "
        f"random={_summary(report.random)} unused={_summary(report.unused)}"
    )


def write(own: Mapping[str, Tensor], fit: Fit) -> Report:
    """Copies what was chosen into `own`, the tensors of a model, and says what was done."""
    with torch.no_grad():
        for name, tensor in fit.loaded.items():
            own[name].copy_(tensor)
    return Report(
        matched=tuple(name for name in own if name in fit.loaded and name not in fit.adapted),
        adapted=fit.adapted,
        random=tuple(name for name in own if name not in fit.loaded),
        unused=tuple(sorted(fit.unused)),
    )


def refusal(differences: Mapping[str, str], *, allow: Collection[str]) -> str:
    """Returns what an error says of the differences that are not among the allowed ones."""
    lines = [f"{name} {how}" for name, how in sorted(differences.items())]
    more = f", and {len(lines) - NAMES_SHOWN} more" if len(lines) > NAMES_SHOWN else ""
    return (
        f"weights must fit the model but for {', '.join(sorted(allow)) or 'nothing'}: "
        f"{'; '.join(lines[:NAMES_SHOWN])}{more}; allow a difference in head, position or stem, or "
        "build the model that the weights belong to"
    )


def fit_position(
    fit: Fit, name: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> Tensor:
    """Returns the embedding `name` on the model's grid; the class token takes or leaves its slot.

    Without slot, the class token is that with slot plus the slot, so that the model is the same.
    """
    prefix, grid = prefix_and_grid(own[name].shape[1])
    old_prefix, old_grid = prefix_and_grid(found[name].shape[1])
    resized = resize_position(found[name], grid=grid, prefix=prefix)
    changes = [f"grid {old_grid} -> {grid}"] if old_grid != grid else []
    changes += [f"prefix slots {old_prefix} -> {prefix}"] if old_prefix != prefix else []
    fit.adapt(name, resized, ", ".join(changes))
    if prefix == 0 < old_prefix and "cls_token" in own and "cls_token" in found:
        token = found["cls_token"] + found[name][:, :1]
        if token.shape == own["cls_token"].shape:
            fit.adapt("cls_token", token, "plus its position")
    return resized


def is_position(name: str, tensor: Tensor) -> bool:
    """Tells whether a tensor is an embedding of the kind of `models.position`."""
    return name.endswith("pos_embed") and tensor.ndim == 3 and tensor.shape[0] == 1


def _origin(name: str) -> Origin:
    known = timm.get_pretrained_cfg(name)
    assert known is not None
    # timm's networks do not blur, but may learn to: as with a file that does not say.
    return Origin(mean_std=(known.mean, known.std), blur_pool=None)


def _fit_tensor(
    fit: Fit,
    name: str,
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    classifier: Iterable[str],
    allow: Collection[Difference],
) -> None:
    mine, theirs = own[name], found.get(name)
    if theirs is None:
        fit.differ(name, own, found)
    elif theirs.shape == mine.shape:
        # The class token may already have its position.
        fit.loaded.setdefault(name, theirs)
    elif is_in(name, classifier) and theirs.shape[1:] == mine.shape[1:]:
        fit.random.append(name)
    elif "position" in allow and is_position(name, theirs) and theirs.shape[2] == mine.shape[2]:
        fit_position(fit, name, own, found)
    else:
        fit.differ(name, own, found)


def _agree(own: Mapping[str, Tensor], found: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    return all(n in own and n in found and own[n].shape == found[n].shape for n in names)


def _fit_stem(
    fit: Fit,
    network: nn.Module,
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    stem: Collection[str],
) -> None:
    """Resamples the patch-wise convolution if nothing else differs, or uses nothing of the stem."""
    resampled = [name for name in stem if _is_other_patch(network, name, own, found)]
    if len(resampled) == 1 and _agree(own, found, set(stem) - set(resampled)):
        name = resampled[0]
        fit.loaded.update({n: found[n] for n in stem if n != name})
        size = own[name].shape[-1]
        tensor = resample_patch_embed(found[name].float(), [size, size])
        fit.adapt(name, tensor, f"patch {found[name].shape[-1]} -> {size}")
    else:
        fit.unused.extend(name for name in stem if name in found)


def _is_other_patch(
    network: nn.Module, name: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> bool:
    if name not in own or name not in found or own[name].ndim != 4 or found[name].ndim != 4:
        return False
    layer: Any = network.get_submodule(name.rpartition(".")[0])
    is_patchwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == layer.stride
    return is_patchwise and own[name].shape[:2] == found[name].shape[:2]


def _summary(names: Collection[str]) -> str:
    if not names:
        return "0"
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{len(names)} ({', '.join(list(names)[:NAMES_SHOWN])}{more})"
