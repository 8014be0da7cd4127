"""The training step: parts, ranks and formats change nothing, and no work is done in vain."""

from collections import Counter
from typing import Any

import pytest
import torch
from base_trial import timm_config
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from trial_factory import CHECK, random_images, tiny_trial

from models.normalize import Normalize
from models.registry import build_model
from trainers.data.images import ImageSet
from trainers.group import Group, alone
from trainers.loop import fit
from trainers.losses import mart_loss, soft_targets, trades_loss
from trainers.session import Session, begin_session, parts_of, require_buildable
from trainers.step import train_step

CPU = torch.device("cpu")
# SGD, because Adam's division turns a rounding error into a whole step.
STEADY: dict[str, Any] = {"optim": {"name": "sgd", "lr": 0.05, "warmup": 0.0}}
L2 = {"norm": "l2", "eps": 0.5}
PGD = {"name": "pgd", "noise": 1.0}
TWO_NORMS = {"name": "pgd", "noise": 1.0, "also": [{"norm": "linf", "eps": 0.03}]}


def session(**changes: Any) -> Session:
    return begin_session(
        tiny_trial(**{**STEADY, **changes}),
        random_images(24),
        group=alone(CPU),
        resume=None,
        start=None,
    )


def step(state: Session, *, lr: float = 0.05, turn: int = 0) -> tuple[Tensor, Tensor]:
    images, config = random_images(24), state.config
    index = torch.arange(turn * 8, turn * 8 + 8) % 24
    y = images.labels[index]
    targets = soft_targets(y, num_classes=12, smoothing=config.label_smoothing)
    state.model.train()
    return train_step(
        state,
        images.floats(index),
        targets,
        lr=lr,
        radius=1.0,
        steps=config.attack.steps,
        turn=turn,
        generator=torch.Generator().manual_seed(turn),
    )


def weights(state: Session) -> dict[str, Tensor]:
    return dict(state.model.state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"threat": L2},
        {"threat": L2, "attack": PGD},
        {"threat": L2, "attack": {**PGD, "fraction": 0.625}},
        {"threat": L2, "attack": {**PGD, "target": "least_likely"}},
        {"threat": L2, "attack": {**TWO_NORMS, "union": "max"}},
        {"threat": L2, "attack": {**TWO_NORMS, "union": "average"}},
        {"threat": L2, "attack": {**PGD, "loss": "kl"}, "objective": {"name": "trades"}},
        {"threat": L2, "objective": {"name": "mart"}, "label_smoothing": 0.0},
    ],
    ids=["apgd", "pgd", "fraction", "targeted", "max", "average", "trades", "mart"],
)
def test_parts_give_the_gradient_of_the_whole_batch(changes: dict[str, Any]) -> None:
    whole = session(**changes)
    parts = session(**changes, compute={"accumulation": 4})

    losses = [[step(state, turn=turn)[0] for turn in range(3)] for state in (whole, parts)]

    torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=0, atol=1e-5)


def test_channels_last_changes_nothing_but_the_layout() -> None:
    plain, last = session(threat=L2), session(threat=L2, compute={"channels_last": True})

    for turn in range(3):
        step(plain, turn=turn)
        step(last, turn=turn)

    torch.testing.assert_close(weights(plain), weights(last), rtol=0, atol=1e-5)
    weight = last.model.get_parameter("network.stem.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_recomputed_activations_give_the_same_gradient_and_keep_less() -> None:
    model = {"depths": [3, 3], "drop_path": 0.3}
    plain, saving = session(model=model), session(model=model, compute={"checkpointing": True})
    kept = [0, 0]

    for which, state in enumerate((plain, saving)):

        def count(tensor: Tensor, which: int = which) -> Tensor:
            kept[which] += tensor.numel()
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            step(state)

    torch.testing.assert_close(weights(plain), weights(saving), rtol=0, atol=1e-6)
    assert kept[1] < 0.8 * kept[0]
    stages = saving.model.get_submodule("network.stages")
    assert not any(stage.grad_checkpointing for stage in stages.children())


@pytest.mark.parametrize(
    ("accumulation", "planned", "size", "parts"),
    [(1, 1, 1, 1), (2, 2, 1, 4), (1, 4, 3, 2), (2, 4, 3, 2), (4, 2, 2, 4)],
)
def test_fewer_workers_take_more_parts_as_long_as_each_has_an_image(
    accumulation: int, planned: int, size: int, parts: int
) -> None:
    config = tiny_trial(compute={"accumulation": accumulation})
    group = Group(rank=0, size=size, planned=planned, device=CPU)

    assert parts_of(config, group) == parts


def test_a_model_without_checkpointing_says_so() -> None:
    config = tiny_trial(compute={"checkpointing": True}, data={"resolution": 32})
    model = timm_config("dla46_c")

    with pytest.raises(ValueError, match=r"DLA cannot .* set compute\.checkpointing to false"):
        begin_session(
            config.model_copy(update={"model": model}),
            random_images(24),
            group=alone(CPU),
            resume=None,
            start=None,
        )


RAMP = {"shape": "linear", "start": 0.5, "ramp": 1.0}


def test_images_grow_with_the_resolution_schedule() -> None:
    config = tiny_trial(data={"resolution": 32}, resolution_schedule=RAMP, epochs=2)
    images = ImageSet(images=torch.zeros(24, 3, 32, 32).byte(), labels=torch.arange(24) % 12)
    seen: list[int] = []

    def watch(module: torch.nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
        if isinstance(module, Normalize) and module.training:
            seen.append(inputs[0].shape[-1])

    handle = register_module_forward_hook(watch)
    for _ in fit(
        config,
        images=images,
        rungs=(),
        evaluate=lambda _, __: CHECK,
        group=alone(CPU),
        resume=None,
        start=None,
    ):
        pass
    handle.remove()

    # Six steps: 16 + 16 x (0, 1, 2, 3, 4, 5) / 6, to multiples of 4.
    assert seen == [16, 20, 20, 24, 28, 28]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_tiny_patch16_224", r"resolution_schedule passes through 16 pixels, which the model"),
        ("dla46_c", r"set compute\.checkpointing to false"),
    ],
)
def test_what_a_model_cannot_do_is_known_before_training(name: str, words: str) -> None:
    config = tiny_trial(
        data={"resolution": 32},
        resolution_schedule=RAMP,
        compute={"checkpointing": name == "dla46_c"},
    )
    model = timm_config(name)

    with pytest.raises(ValueError, match=words):
        require_buildable(config.model_copy(update={"model": model}))
    require_buildable(config)


def test_the_objectives_are_those_of_the_papers() -> None:
    """One step of lr 1 moves the weights by the gradient of the formula on the attacked batch."""
    for name, formula in (("trades", trades_loss), ("mart", mart_loss)):
        changes = {"label_smoothing": 0.0, "objective": {"name": name, "beta": 3.0}}
        state = session(**changes, optim={"name": "sgd", "betas": [0.0, 0.9], "weight_decay": 0.0})
        twin = build_model(state.config.model, num_classes=12, resolution=16)
        twin.load_state_dict(state.model.state_dict())
        x, y = random_images(24).floats(torch.arange(8)), random_images(24).labels[:8]
        one_hot = torch.nn.functional.one_hot(y, 12).float()
        labels = one_hot if name == "trades" else y
        x_adv = state.adversary(
            x,
            one_hot,
            radius=1.0,
            steps=2,
            turn=0,
            generator=torch.Generator(),
        )
        loss = formula(twin(x), twin(x_adv), labels, beta=3.0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), state.config.optim.clip_norm)

        reported, _ = step(state, lr=1.0)

        torch.testing.assert_close(reported, loss.detach())
        for mine, parameter in zip(state.model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.data, parameter.data - parameter.grad)  # pyright: ignore


class Operations(TorchDispatchMode):
    """Counts what reaches the kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removesuffix(".default")
        if name == "aten.convolution_backward":
            name += f" weights={args[-1][1]}"
        is_masked = name.startswith("aten.index") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        self.counts["aten.nonzero" if is_masked else name] += 1
        return func(*args, **(kwargs or {}))


WAITS = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.item",
    "aten.is_nonzero",
    "aten.masked_select",
)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_apgd_does_no_work_it_need_not(steps: int) -> None:
    state = session(attack={"steps": steps})
    convs = sum(isinstance(m, torch.nn.Conv2d) for m in state.model.modules())
    x, targets = random_images(8).floats(torch.arange(8)), torch.full((8, 12), 1 / 12)

    with Operations() as seen:
        state.adversary(x, targets, radius=1.0, steps=steps, turn=0, generator=torch.Generator())

    assert seen.counts["aten.convolution"] == (steps + 1) * convs
    assert seen.counts["aten.convolution_backward weights=False"] == steps * convs
    assert seen.counts["aten.convolution_backward weights=True"] == 0
    assert [name for name in WAITS if seen.counts[name]] == []


def test_a_whole_step_adds_one_forward_and_one_backward_and_waits_for_nothing() -> None:
    state = session(
        ema_horizon=0.5,
        optim={"name": "adamw", "clip_norm": 1.0},
        attack={"fraction": 0.5, "also": [{"norm": "l1", "eps": 2.0}]},
    )
    convs = sum(isinstance(m, torch.nn.Conv2d) for m in state.model.modules())
    images = random_images(24)
    targets = soft_targets(images.labels[:8], num_classes=12, smoothing=0.1)
    x = images.floats(torch.arange(8))

    with Operations() as seen:
        train_step(
            state, x, targets, lr=0.1, radius=1.0, steps=2, turn=0, generator=torch.Generator()
        )

    # Two threats of three forwards each, one forward each to compare them, and the training pass.
    assert seen.counts["aten.convolution"] == (2 * 3 + 2 + 1) * convs
    assert seen.counts["aten.convolution_backward weights=False"] == 2 * 2 * convs
    assert seen.counts["aten.convolution_backward weights=True"] == convs
    assert [name for name in WAITS if seen.counts[name]] == []
