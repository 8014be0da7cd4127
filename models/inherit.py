"""Weights for a network of another size: what overlaps is kept, the rest stays as initialised.

Tensors belong together by name, so a deeper network keeps the first blocks of each stage. In each
tensor the leading channels are kept; those of queries, keys and values separately; kernels of
another size are aligned at their centres. A network that is wider does not compute what the
narrower one did.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.anatomy import classifier_modules, is_in, network_of, stem_tensors
from models.layouts import bare_names
from models.weights import Difference, Fit, Report, fit_position, is_position, refusal, write


def inherit(
    model: nn.Module, state: Mapping[str, Tensor], *, allow: Collection[Difference]
) -> Report:
    """Copies what `state` and a model of `build_model` have in common, in place.

    Args:
        model: Changed in place, unless an error is raised.
        state: As for `load_weights`.
        allow: What may differ besides widths and depths. With `position`, position embeddings are
            interpolated; with `stem`, a stem of other layers or kernels stays random as a whole,
            and with `head` a classifier of other classes.

    Raises:
        ValueError: If head, position or stem differ and may not, or if less than half of the rest
            has a counterpart: then they are of different families.
    """
    network = network_of(model)
    own, found = network.state_dict(), bare_names(state)
    fit = Fit()
    stem = _swapped_stem(network, own, found)
    classifier = classifier_modules(network)
    for name in own.keys() & found.keys():
        has_other_classes = is_in(name, classifier) and own[name].shape[0] != found[name].shape[0]
        if name in stem or has_other_classes or own[name].ndim != found[name].ndim:
            fit.unused.append(name)
        elif own[name].shape == found[name].shape:
            # The class token may already have its position.
            fit.loaded.setdefault(name, found[name])
        else:
            _fit_overlap(fit, name, own, found)
    fit.unused.extend(found.keys() - own.keys())
    apart = stem | {name for name in own if is_in(name, classifier)}
    _check_family(own.keys() - apart, found.keys() - apart, fit.loaded)
    for name in own.keys() | found.keys():
        kind = _kind(name, own, found, stem=stem, classifier=classifier)
        if kind is not None and kind not in allow:
            fit.differ(name, own, found)
    if fit.differences:
        raise ValueError(refusal(fit.differences, allow={*allow, "size"}))
    return write(own, fit)


def _check_family(own: Collection[str], found: Collection[str], loaded: Collection[str]) -> None:
    """Raises ValueError if too little of either side has a counterpart."""
    shared = len(set(own) & set(loaded))
    # By kind, as the last blocks of a deeper network have no counterpart.
    kinds, known = _numberless(found), _numberless(own)
    if 2 * shared < len(own) or 2 * len(kinds & known) < len(kinds):
        raise ValueError(
            f"weights to inherit must share at least half of their names with the model, which has "
            f"{_some(own)}; got {_some(found)}, for {shared} of its {len(own)} tensors besides "
            "stem and head; take weights of the same family"
        )


def _numberless(names: Iterable[str]) -> set[str]:
    return {re.sub(r"\d+", "0", name) for name in names}


def _kind(
    name: str,
    own: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    stem: Collection[str],
    classifier: Collection[str],
) -> Difference | None:
    """Returns the kind of a difference that is none of width or depth."""
    is_missing = name not in own or name not in found
    if name in stem:
        is_same = not is_missing and own[name].shape == found[name].shape
        return None if is_same else "stem"
    if is_in(name, classifier):
        return "head" if is_missing or own[name].shape[0] != found[name].shape[0] else None
    if name == "cls_token":
        return "position" if is_missing else None
    if is_position(name, own.get(name, found.get(name, torch.empty(0)))):
        return "position" if is_missing or own[name].shape[1] != found[name].shape[1] else None
    return None


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


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3]) or "none"
