"""Which tensors of a network are its stem, its stages and its classifier.

timm's models say so themselves (`group_matcher`, `pretrained_cfg`), and ours in the same way. All
names are those of the network, without the `network.` of `build_model`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from timm.models import group_parameters
from torch import nn

Matcher = dict[str, Any] | Callable[[str], Any]

_CLASSIFIERS = ("head.fc", "head", "fc", "classifier")
_TOKENS = re.compile(r"(cls_token|dist_token|reg_token|pos_embed|norm_pre|rel_pos)")
"""What timm counts with the stem of a transformer although another stem leaves it as it is."""


def network_of(model: nn.Module) -> nn.Module:
    """Returns what `build_model` put behind the normalisation."""
    return model.get_submodule("network")


def classifier_modules(network: nn.Module) -> tuple[str, ...]:
    """Returns the names of the layers that end with the classes."""
    known = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    modules = dict(network.named_modules())
    candidates = (known,) if isinstance(known, str) else tuple(known)
    found = tuple(n for n in candidates if n in modules)
    linear = (n for n in _CLASSIFIERS if isinstance(modules.get(n), nn.Linear))
    return found or tuple(linear)[:1]


def is_in(name: str, modules: Iterable[str]) -> bool:
    """Tells whether the tensor `name` belongs to one of `modules`."""
    return any(name.startswith(f"{module}.") for module in modules)


def stem_tensors(network: nn.Module, names: Iterable[str]) -> set[str]:
    """Returns those of `names` that lie in the stem, also if `network` itself has others.

    Class tokens and position embeddings are no part of it.

    Raises:
        ValueError: If the network does not say where its stem is.
    """
    in_stem = _stem_test(network)
    return {name for name in names if in_stem(name) and not _TOKENS.match(name)}


def stages(network: nn.Module) -> list[list[str]]:
    """Returns the names of parameters in front of the stages, then those of each stage.

    Stages are those of a ConvNeXt or ResNet, blocks of a ViT or XCiT (class attention counts), and
    the coarse groups of any other model of timm. What follows the last stage is left out.

    Raises:
        ValueError: If the network does not say where its stages are.
    """
    matcher = _matcher(network)
    if matcher is None:
        raise ValueError(
            f"the stages of {type(network).__name__} cannot be told: it has no group_matcher; "
            "freeze the stem alone, or take another model"
        )
    groups = list(group_parameters(network, matcher).values())
    classifier = classifier_modules(network)
    return [group for group in groups if not any(is_in(name, classifier) for name in group)]


def _matcher(network: nn.Module) -> Matcher | None:
    describe = getattr(network, "group_matcher", None)
    return describe(coarse=True) if describe is not None else None


def _stem_test(network: nn.Module) -> Callable[[str], bool]:
    matcher = _matcher(network)
    if callable(matcher):
        return lambda name: _first(matcher(name)) == 0
    if matcher is not None and "stem" in matcher:
        patterns = matcher["stem"]
        patterns = [patterns] if isinstance(patterns, str) else [p for p, _ in patterns]
        return lambda name: any(re.match(pattern, name) for pattern in patterns)
    first = getattr(network, "pretrained_cfg", {}).get("first_conv")
    if not isinstance(first, str):
        raise ValueError(
            f"the stem of {type(network).__name__} cannot be told: it has neither a group_matcher "
            "nor a first_conv; take another model"
        )
    return lambda name: name.startswith(f"{first.partition('.')[0]}.")


def _first(ordinal: Any) -> Any:
    return ordinal[0] if isinstance(ordinal, tuple) else ordinal
