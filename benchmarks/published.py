"""The training step of the published APGD-2 recipe (Singh et al. 2023), restated as a yardstick.

Written from a list of facts about that system, not from its code: images stay NCHW while the
model is channels_last; parameters keep their graph during the attack; masks, `nonzero` and a sum
wait for the device in each iteration; the stem normalises by hand in six kernels; the loss is read
at every step; the average of the weights lives on the CPU, tensor by tensor.
"""

import copy

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import LayerNorm2d  # pyright: ignore[reportPrivateImportUsage]
from torch import Tensor, nn

EMA_DECAY = 0.9999


class HandWrittenNorm(nn.Module):
    """LayerNorm over the channels of NCHW images, one operation after the other."""

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PublishedStep:
    """One step of their loop: attack in eval mode, then update in train mode."""

    def __init__(
        self, model: nn.Module, *, eps: float, with_ema: bool, device: torch.device
    ) -> None:
        """`model` is not changed; its stem's norms are replaced in a copy."""
        self.model = copy.deepcopy(model).to(device, memory_format=torch.channels_last)  # pyright: ignore
        stem = self.model.get_submodule("network").get_submodule("stem")
        for name, layer in list(stem.named_children()):
            if isinstance(layer, LayerNorm2d):
                setattr(stem, name, HandWrittenNorm(layer))
        self.eps, self.device = eps, device
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.ema = copy.deepcopy(self.model).to("cpu") if with_ema else None
        self.losses: list[float] = []

    def __call__(self, x: Tensor, targets: Tensor) -> None:
        """Takes a step on images (batch, 3, h, w) and soft targets (batch, classes)."""
        self.model.eval()
        x_adv = self._attack(x, targets)
        self.model.train()
        with self._autocast():
            loss = F.cross_entropy(self.model(x_adv), targets)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.losses.append(loss.item())
        if self.ema is not None:
            self._average(self.ema)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.float16, enabled=self.device.type == "cuda"
        )

    def _attack(self, x: Tensor, targets: Tensor) -> Tensor:
        eps, y = self.eps, targets.argmax(dim=1)
        x_adv, x_old = x.clone(), x.clone()
        x_best, x_fooling = x.clone(), x.clone()
        step_size = 2 * eps * torch.ones(len(x), 1, 1, 1, device=x.device)
        loss_best, grad = self._measure(x_adv, targets, x_fooling, y, needs_grad=True)
        for step in range(2):
            moved = x_adv - x_old
            x_old = x_adv.clone()
            momentum = 0.75 if step else 1.0
            z = x_adv + step_size * grad.sign()
            z = torch.clamp(torch.min(torch.max(z, x - eps), x + eps), 0, 1)
            z = x_adv + (z - x_adv) * momentum + moved * (1 - momentum)
            x_adv = torch.clamp(torch.min(torch.max(z, x - eps), x + eps), 0, 1)
            loss, grad = self._measure(x_adv, targets, x_fooling, y, needs_grad=step == 0)
            better = (loss > loss_best).nonzero().squeeze(1)
            x_best[better] = x_adv[better].clone()
            loss_best[better] = loss[better]
            if (loss < 0).sum() > 0:  # their test for oscillation: at two steps never, but it waits
                step_size[loss < 0] /= 2
        return x_best

    def _measure(
        self, x_adv: Tensor, targets: Tensor, fooling: Tensor, y: Tensor, *, needs_grad: bool
    ) -> tuple[Tensor, Tensor]:
        x_adv = x_adv.detach().requires_grad_()
        with self._autocast():
            logits = self.model(x_adv)
            losses = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)
        grad = torch.zeros_like(x_adv)
        if needs_grad:
            (grad,) = torch.autograd.grad(losses.sum(), [x_adv])
        is_wrong = logits.detach().argmax(dim=1) != y
        fooling[is_wrong] = x_adv.detach()[is_wrong]
        return losses.detach().clone(), grad.detach()

    @torch.no_grad()
    def _average(self, ema: nn.Module) -> None:
        for mine, current in zip(
            ema.state_dict().values(), self.model.state_dict().values(), strict=True
        ):
            mine.copy_(EMA_DECAY * mine + (1 - EMA_DECAY) * current.to("cpu"))
