"""What a model costs, without its weights: parameters, multiply-adds, memory of activations."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from models.config import ModelConfig, TimmConfig
from models.registry import build_model

TIMM_REFUSALS = (AssertionError, RuntimeError, ZeroDivisionError)
"""What models of timm raise, when built or in the forward pass, for images they cannot take."""
TRAINING_PASSES = 3
"""A training step on given images, in units of a forward pass: forward, gradient of the
activations, gradient of the weights."""


@dataclass(frozen=True, kw_only=True)
class ForwardCost:
    """The usual two measures of size."""

    params_m: float
    """Parameters, in millions."""
    gmacs: float
    """Multiply-adds of convolutions, linear layers and attention for one image, in 1e9."""


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """The size of a model, and what a backward pass makes a forward pass keep."""

    params_m: float
    """As in `ForwardCost`."""
    gmacs: float
    """As in `ForwardCost`."""
    activation_mb: float
    """Kept by a training forward of one image in fp32, without recomputation, in 1e6 bytes."""
    attack_activation_mb: float
    """Kept by a forward of one image in an attack: eval mode, frozen weights; as above."""


def cost(config: ModelConfig, *, num_classes: int, resolution: int) -> ModelCost:
    """Counts on the meta device: no weight is allocated and no number is drawn.

    Raises:
        ValueError: As `build_model`, and if a model of timm cannot take images of this resolution.
    """
    with _refusing(config, resolution):
        model = _build(config, num_classes=num_classes, resolution=resolution)
        images = partial(_images, resolution=resolution)
        # Two images at least: batch norm in training mode refuses a single value per channel, and
        # of one image torch need not copy what it must of more.
        training = kept_bytes(model.train(), images, batches=(2, 3))
        model.eval().requires_grad_(False)
        attack = kept_bytes(model, lambda n: images(n).requires_grad_(), batches=(2, 3))
        size = _forward_cost(model, images(1))
    return ModelCost(
        params_m=size.params_m,
        gmacs=size.gmacs,
        activation_mb=training / 1e6,
        attack_activation_mb=attack / 1e6,
    )


def forward_cost(config: ModelConfig, *, num_classes: int, resolution: int) -> ForwardCost:
    """Counts as `cost`, without the memory: in a third of the time.

    Raises:
        ValueError: As `cost`.
    """
    with _refusing(config, resolution):
        model = _build(config, num_classes=num_classes, resolution=resolution)
        return _forward_cost(model.eval(), _images(1, resolution=resolution))


def apgd_gmacs(gmacs: float, *, steps: int) -> float:
    """Estimates the multiply-adds of a training step with APGD for one image: (2 steps + 4) passes.

    The attack takes `steps + 1` forwards and `steps` gradients of the input, each about as much as
    a forward; see `TRAINING_PASSES` for the rest.

    Args:
        gmacs: Of a forward pass.
    """
    return (2 * steps + 1 + TRAINING_PASSES) * gmacs


def kept_bytes(
    model: nn.Module, images: Callable[[int], Tensor], *, batches: tuple[int, int]
) -> float:
    """Returns the bytes per image that a forward pass of `model`, as it is, keeps for its backward.

    Measured at two sizes of batch: what is the same at both, such as weights, falls out.

    Args:
        images: Makes a batch of so many images; the input gradient counts if they need it.
        batches: The smaller and the larger size of batch.
    """
    few, many = batches
    extra = _kept_by(model, images(many)) - _kept_by(model, images(few))
    return extra / (many - few)


def _build(config: ModelConfig, *, num_classes: int, resolution: int) -> nn.Module:
    with torch.device("meta"):
        return build_model(config, num_classes=num_classes, resolution=resolution)


def _images(count: int, *, resolution: int) -> Tensor:
    return torch.empty(count, 3, resolution, resolution, device="meta")


def _forward_cost(model: nn.Module, x: Tensor) -> ForwardCost:
    # The counter fails on a parameter that is handed to a module, as in cait and pit, if it needs
    # a gradient.
    model.requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return ForwardCost(
        params_m=sum(p.numel() for p in model.parameters()) / 1e6,
        gmacs=counter.get_total_flops() / 2 / 1e9,  # torch counts a multiply-add as two
    )


def _kept_by(model: nn.Module, x: Tensor) -> int:
    """Returns the bytes of all storages that autograd saves, each counted once."""
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        # Holding the storage keeps its address from being given to another.
        storages[storage._cdata] = storage  # pyright: ignore[reportPrivateUsage]

    with torch.autograd.graph.saved_tensors_hooks(pack, _no_backward), _FusedAttention():
        model(x)
    return sum(storage.nbytes() for storage in storages.values())


def _no_backward(_: None) -> Tensor:
    raise AssertionError("nothing was kept: this pass only counts")


class _FusedAttention(TorchFunctionMode):
    """Attention that keeps what fused kernels keep, on CPU and GPU: inputs, output, row sums.

    On the meta device torch takes the unfused one, which keeps the matrix of all pairs of tokens.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replaces attention by the fused operator; all else stays."""
        attends = func is functional.scaled_dot_product_attention
        return (_attend if attends else func)(*args, **(kwargs or {}))


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Has the signature of torch's function; dropout keeps no more than a seed."""
    same = query.shape[-1] == value.shape[-1] and not enable_gqa
    if query.dim() != 4 or not same:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    return fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]


@contextmanager
def _refusing(config: ModelConfig, resolution: int) -> Generator[None]:
    """Turns what models of timm raise for images that they cannot take into a ValueError."""
    try:
        yield
    except TIMM_REFUSALS as error:
        if not isinstance(config, TimmConfig):
            raise
        raise ValueError(_refusal(config.name, resolution, error)) from error


def _refusal(name: str, resolution: int, error: Exception) -> str:
    known = timm.get_pretrained_cfg(name)
    size = f" (timm has it at {known.input_size[-1]})" if known is not None else ""
    reason = str(error).partition("\n")[0] or type(error).__name__
    return (
        f"timm's {name} cannot take images of resolution {resolution}: {reason.rstrip('.')}; "
        f"take another resolution{size} or another model"
    )
