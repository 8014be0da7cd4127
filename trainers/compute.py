"""How a network computes: precision, memory format, compilation, checkpointing, ranks."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from jaxtyping import Float
from timm.layers import convert_sync_batchnorm  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.config import ComputeConfig
from trainers.group import Group

GRAPHS = 256
"""Most graphs of one function; beyond them torch would go on without compiling, unasked."""


class Bf16Network(nn.Module):
    """Runs a network under bf16 autocast; images come in and logits go out in fp32.

    bf16 has the exponent of fp32, so input gradients do not underflow to a sign of zero as fp16's
    do, and no loss scaling is needed.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes"]:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return self.network(x).float()


def place(model: nn.Module, compute: ComputeConfig, *, device: torch.device) -> nn.Module:
    """Moves `model` to `device` in the memory format of `compute`."""
    if compute.channels_last:
        # Typed for tensors only; modules take it, too.
        return model.to(device, memory_format=torch.channels_last)  # pyright: ignore
    return model.to(device)


def in_precision(model: nn.Module, compute: ComputeConfig) -> nn.Module:
    """Returns what attacks and training run: `model` itself, or a wrapper that shares it."""
    return Bf16Network(model) if compute.precision == "bf16" else model


def in_format(x: Tensor, compute: ComputeConfig) -> Tensor:
    """Lays images out as the network's weights are."""
    return x.contiguous(memory_format=torch.channels_last) if compute.channels_last else x


def for_training(
    network: nn.Module, compute: ComputeConfig, *, group: Group, parts: int
) -> nn.Module:
    """Returns the network that the backward pass goes through: compiled, gradients shared.

    Attacks run the bare one, so that they wake no reducer.
    """
    if compute.compile:
        # Typed for functions; a module comes back as a module.
        network = torch.compile(network, dynamic=False)  # pyright: ignore
    if group.size == 1:
        return network
    return DistributedDataParallel(
        network,
        broadcast_buffers=False,  # see `share_buffers`
        static_graph=parts == 1,  # torch 2.15 fails on both no_sync and a static graph
    )


def compiling(is_on: bool) -> AbstractContextManager[object]:
    """Lets torch.compile take the attack's own gradients into its graph, and as many graphs as the
    schedules of steps and resolution ask for.

    Raises:
        ValueError: If this version of torch cannot.
    """
    if not is_on:
        return nullcontext()
    from torch._dynamo import config  # a second of imports that eager trials do without

    if not hasattr(config, "trace_autograd_ops"):
        raise ValueError(
            f"compute.compile needs a torch that traces autograd.grad, which {torch.__version__} "
            "does not; set it to false, or take torch >= 2.15"
        )
    return config.patch(
        trace_autograd_ops=True, recompile_limit=GRAPHS, accumulated_recompile_limit=GRAPHS
    )


def share_buffers(model: nn.Module) -> None:
    """Gives every rank rank 0's batch statistics, so that all attack the same model.

    DDP itself would do so after the attack, and a resumed rank would begin with other statistics.
    """
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    together = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(together, src=0)
    parts = together.split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))


def synchronized(model: nn.Module, compute: ComputeConfig, *, group: Group) -> nn.Module:
    """Turns batch norm into one over all ranks, if `compute` says so and there are several.

    Raises:
        ValueError: If the ranks have no GPUs.
    """
    if not compute.sync_bn or group.size == 1:
        return model
    if group.device.type != "cuda":
        raise ValueError("compute.sync_bn needs GPU workers; set it to false, or take 1 worker")
    # torch's own conversion would drop the activation inside timm's BatchNormAct2d.
    return convert_sync_batchnorm(model)


def set_checkpointing(model: nn.Module, is_on: bool) -> None:
    """Switches the recomputation of activations of a model that `build_model` made.

    Raises:
        ValueError: If the architecture has none.
    """
    network = model.get_submodule("network")
    try:
        network.set_grad_checkpointing(is_on)  # pyright: ignore[reportCallIssue]
    except (AttributeError, AssertionError) as error:  # timm asserts where it has none
        name = type(network).__name__
        raise ValueError(
            f"{name} cannot recompute activations; set compute.checkpointing to false"
        ) from error
