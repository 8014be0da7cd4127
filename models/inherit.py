"""Weights for a network of another size: what overlaps is kept, the rest stays as initialised.

Tensors belong together by name, so a deeper network keeps the first blocks of each stage. In each
tensor the leading channels are kept; those of queries, keys and values separately; kernels and
patches of another size are aligned at their centres. A network that is wider does not compute what
the narrower one did.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.anatomy import classifier_modules, is_in, network_of, stem_tensors
from models.layouts import bare_names
from models.weights import Fit, Report, fit_position, is_position, write


def inherit(model: nn.Module, state: Mapping[str, Tensor]) -> Report:
    """Copies what `state` and a model of `build_model` have in common, in place.

    Position embeddings are interpolated. A stem of other layers or kernels stays random as a whole,
    and so does a classifier of other classes.

    Args:
        model: Changed in place, unless an error is raised.
        state: As for `load_weights`.

    Raises:
        ValueError: If they have nothing in common.
    """
    network = network_of(model)
    own, found = network.state_dict(), bare_names(state)
    fit = Fit()
    left_out = _swapped_stem(network, own, found)
    for name in own.keys() & found.keys():
        if name in left_out or _has_other_classes(network, name, own[name], found[name]):
            fit.unused.append(name)
        elif own[name].shape == found[name].shape:
            # The class token may already have its position.
            fit.loaded.setdefault(name, found[name])
        elif own[name].ndim == found[name].ndim:
            _fit_overlap(fit, name, own, found)
        else:
            fit.unused.append(name)
    fit.unused.extend(found.keys() - own.keys())
    if not fit.loaded:
        raise ValueError(
            f"weights to inherit must share names with the model, which has {_some(own)}; got "
            f"{_some(found)}; take weights of the same family"
        )
    return write(own, fit)


def _swapped_stem(
    network: nn.Module, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> set[str]:
    """Returns the names of the stem if it has other layers or kernels, else none."""
    stem = stem_tensors(network, {*own, *found})
    is_same = all(
        name in own and name in found and own[name].shape[2:] == found[name].shape[2:]
        for name in stem
    )
    return set() if is_same else stem


def _has_other_classes(network: nn.Module, name: str, mine: Tensor, theirs: Tensor) -> bool:
    return is_in(name, classifier_modules(network)) and mine.shape[0] != theirs.shape[0]


def _fit_overlap(
    fit: Fit, name: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    theirs = found[name]
    is_resized = is_position(name, theirs) and theirs.shape[1] != own[name].shape[1]
    if is_resized:
        theirs = fit_position(fit, name, own, found)
    how = f"{fit.adapted[name]}, " if is_resized else ""
    if theirs.shape != own[name].shape:
        shapes = f"of {tuple(theirs.shape)} in {tuple(own[name].shape)}"
        fit.adapt(name, _overlap(name, own[name], theirs), f"{how}what overlaps {shapes}")


def _overlap(name: str, mine: Tensor, theirs: Tensor) -> Tensor:
    """Returns `mine` with the part of `theirs` that it has room for."""
    result = mine.clone()
    if name.rpartition(".")[0].endswith("qkv"):
        thirds = zip(result.chunk(3), theirs.chunk(3), strict=True)
        for left, right in thirds:
            _copy_leading(left, right)
    else:
        _copy_leading(result, theirs)
    return result


def _copy_leading(mine: Tensor, theirs: Tensor) -> None:
    sizes = [min(a, b) for a, b in zip(mine.shape, theirs.shape, strict=True)]
    with torch.no_grad():
        mine[_window(mine.shape, sizes)] = theirs[_window(theirs.shape, sizes)].to(mine.dtype)


def _window(shape: Sequence[int], sizes: Sequence[int]) -> tuple[slice, ...]:
    # Of a kernel (out, in, h, w) the last two dimensions are places, not channels.
    starts = [
        (n - k) // 2 if d > 1 and len(shape) == 4 else 0 for d, (n, k) in _pairs(shape, sizes)
    ]
    return tuple(slice(start, start + k) for start, k in zip(starts, sizes, strict=True))


def _pairs(shape: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
    return list(enumerate(zip(shape, sizes, strict=True)))


def _some(names: Mapping[str, Tensor]) -> str:
    return ", ".join(list(names)[:3]) or "none"
