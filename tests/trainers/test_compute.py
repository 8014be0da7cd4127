"""Placement of a network: what batch norm over ranks needs, and that wrappers share weights."""

from types import SimpleNamespace

import pytest
import torch
import torch._dynamo
from base_trial import timm_config
from torch import nn
from trial_factory import tiny_trial

from models.registry import build_model
from trainers.compute import compiling, in_precision, synchronized
from trainers.group import Group, alone

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
SYNC = tiny_trial(compute={"sync_bn": True}).compute


def two(device: str) -> Group:
    return Group(rank=0, size=2, planned=2, device=torch.device(device))


def test_batch_norm_over_ranks_needs_gpus() -> None:
    with pytest.raises(ValueError, match=r"sync_bn needs GPU workers; set it to false, or take 1"):
        synchronized(NET, SYNC, group=two("cpu"))


def test_batch_norm_is_over_all_ranks_where_there_are_several() -> None:
    model = build_model(
        timm_config("resnet18"),
        num_classes=2,
        resolution=32,
    )

    found = synchronized(model, SYNC, group=two("cuda"))

    norms = [m for m in found.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # pyright: ignore[reportPrivateUsage]
    assert {type(norm) for norm in norms} == {nn.SyncBatchNorm}
    assert synchronized(NET, SYNC, group=alone(torch.device("cpu"))) is NET


def test_batch_norm_over_ranks_keeps_the_activation_inside_it() -> None:
    model = build_model(
        timm_config("mobilenetv3_small_050"),
        num_classes=2,
        resolution=32,
    ).eval()
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model(x)

    found = synchronized(model, SYNC, group=two("cuda"))

    torch.testing.assert_close(found.eval()(x), before)


def test_compilation_is_refused_where_torch_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._dynamo, "config", SimpleNamespace())  # pyright: ignore

    with pytest.raises(ValueError, match=r"compute\.compile needs a torch that traces autograd"):
        compiling(True)


def test_a_bf16_network_shares_the_weights_and_keeps_them_in_fp32() -> None:
    config = tiny_trial(compute={"precision": "bf16"})
    model = build_model(config.model, num_classes=12, resolution=16)

    network = in_precision(model, config.compute)

    mine, shared = list(model.parameters()), list(network.parameters())
    assert all(a is b for a, b in zip(mine, shared, strict=True))
    assert {p.dtype for p in shared} == {torch.float32}
    assert in_precision(model, tiny_trial().compute) is model
