"""Files of weights: reading and writing the layouts of this project, timm and two papers.

Inside the project the names of a state are those of `network` in `build_model`, which are timm's.
"""

import io
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from models.anatomy import network_of
from models.config import AnyModelConfig, Layout
from models.normalize import Normalize
from models.origin import metadata
from models.pretrained import difference_to_timm
from models.weight_files import AVERAGED, PREFIXES, read_file, uncompiled

_NOT_WEIGHTS = re.compile(r"((normalize\.)?(mean|std)|n_averaged|_extra_state)$")
_THEIR_CONV_STEM = re.compile(r"(stem|patch_embed\.proj)\.stem\.(?=\d+\.)")


def read_state(path: Path, *, weights: Literal["scored", "raw"]) -> dict[str, Tensor]:
    """Reads the weights of one network to the CPU, by timm's names without any prefix.

    Args:
        path: A safetensors file or what `torch.save` wrote, whatever its suffix.
        weights: `scored` takes the moving average where the file has one, `raw` the other weights.

    Raises:
        ValueError: If there is no file, if it is damaged, if reading it could run code, or if it
            has no such weights.
    """
    file = read_file(path)
    state = bare_names(file.entry(weights))
    if not state:
        others = [key for key in AVERAGED if isinstance(file.content.get(key), Mapping)]
        way_out = "take the scored ones" if others else f"its entries are {list(file.content)[:5]}"
        raise ValueError(f"{path} must hold {weights} weights by name, found none; {way_out}")
    return state


def bare_names(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the tensors of a network's state by timm's names, whatever was wrapped around it.

    A prefix goes where all names have it, so that a layer called `model` keeps its name. Entries of
    a normalisation go too: in this project the config names it.
    """
    bare = {uncompiled(name): t for name, t in state.items() if isinstance(t, Tensor)}
    while True:
        bare = {name: tensor for name, tensor in bare.items() if not _NOT_WEIGHTS.match(name)}
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in bare)), None)
        if prefix is None or not bare:
            break
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    bare = {_THEIR_CONV_STEM.sub(r"\1.", name, count=1): t for name, t in bare.items()}
    return _without_blur_filters(bare)


def export_weights(model: nn.Module, path: Path, *, layout: Layout, config: AnyModelConfig) -> None:
    """Writes the weights of a model of `build_model`; the file is whole or absent.

    Args:
        path: Ends in `.safetensors` for `rampart` and `timm`, in another way for the others, which
            their code reads with `torch.load`.
        config: That of the model; safetensors keep its normalisation and its blur.

    Raises:
        ValueError: If the suffix does not suit the layout, if the model blurs before it strides
            and the layout cannot say so, or if timm has no such model for its layout.
    """
    is_safe = layout in ("rampart", "timm")
    if is_safe != (path.suffix == ".safetensors"):
        suffix = ".safetensors" if is_safe else ".pt"
        raise ValueError(f"layout={layout} needs a file named *{suffix}, got {path.name}")
    if layout in ("timm", "debenedetti") and (blurred := _blurred_convolutions(model)):
        raise ValueError(
            f"layout={layout} has no blur before strided convolutions, which this model has at "
            f"{blurred[0]}; take layout=rampart or revisiting"
        )
    if layout == "timm" and (difference := difference_to_timm(config)):
        raise ValueError(
            f"layout=timm needs a model that timm has too, got family {config.family} with "
            f"{difference}; take layout=rampart"
        )
    state = _state_in(model, layout)
    if is_safe:
        data = safetensors.torch.save(state, metadata(config))
    else:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        data = buffer.getvalue()
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _without_blur_filters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undoes the wrapper in which Singh et al. blur: `X.conv.weight` and `X.blur_filter`."""
    blurred = {name.removesuffix("blur_filter") for name in state if name.endswith(".blur_filter")}
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        outer, middle, last = name.rpartition("conv.")
        if not name.endswith(".blur_filter"):
            plain[outer + last if middle and outer in blurred else name] = tensor
    return plain


def _state_in(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    network = network_of(model)
    # Cloned, because safetensors refuses tensors that share storage.
    state = {name: t.detach().cpu().clone() for name, t in network.state_dict().items()}
    match layout:
        case "rampart":
            return {f"network.{name}": tensor for name, tensor in state.items()}
        case "timm":
            return state
        case "debenedetti":
            return _normalized(model, state)
        case "revisiting":
            state = _with_blur_filters(model, state)
            inside = _normalized(model, _with_their_stem(network, state))
            return {f"module.base_model.{name}": tensor for name, tensor in inside.items()}


def _normalized(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns `state` inside the wrapper that both papers use, if the model normalises."""
    layer = model.get_submodule("normalize")
    if not isinstance(layer, Normalize):
        return dict(state)
    return {
        "normalize.mean": layer.mean.cpu().view(1, 3, 1, 1).clone(),
        "normalize.std": layer.std.cpu().view(1, 3, 1, 1).clone(),
        **{f"model.{name}": tensor for name, tensor in state.items()},
    }


def _with_their_stem(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    modules = dict(network.named_modules())
    conv_stems = [name for name in ("stem", "patch_embed.proj") if _is_conv_stem(modules.get(name))]
    return {_their_name(name, conv_stems): tensor for name, tensor in state.items()}


def _is_conv_stem(module: nn.Module | None) -> bool:
    # XCiT's convolutions are in pairs with their norms, and keep timm's names.
    if not isinstance(module, nn.Sequential):
        return False
    return sum(isinstance(layer, nn.Conv2d) for layer in module) > 1


def _their_name(name: str, conv_stems: Iterable[str]) -> str:
    stem = next((s for s in conv_stems if name.startswith(f"{s}.")), None)
    return name if stem is None else f"{stem}.stem{name.removeprefix(stem)}"


def _with_blur_filters(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    blurred = _blurred_convolutions(model)
    network = network_of(model)
    theirs: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, last = name.rpartition(".")
        theirs[f"{module}.conv.{last}" if module in blurred else name] = tensor
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    for module in blurred:
        channels: Any = network.get_submodule(module).in_channels
        theirs[f"{module}.blur_filter"] = kernel.repeat(channels, 1, 1, 1)
    return theirs


def _blurred_convolutions(model: nn.Module) -> list[str]:
    return [
        name
        for name, module in network_of(model).named_modules()
        # `blur_strided` leaves no other trace.
        if isinstance(module, nn.Conv2d) and module._forward_pre_hooks  # pyright: ignore[reportPrivateUsage]
    ]
