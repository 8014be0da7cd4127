"""What a user can hand to an evaluation by mistake: each gets an error of its own."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from base_trial import timm_config
from tiny_task import CLASSES, L1, L2, LINF, TinyNet, tiny_images, trained_net
from torch import Tensor, nn

from evaluation.model_check import check_images, check_inputs
from models.normalize import Normalize
from models.registry import build_model
from trainers.threat import ThreatModel

N = 40
GREYS = torch.linspace(0.1, 0.9, CLASSES).view(CLASSES, 1, 1, 1).expand(CLASSES, 3, 8, 8)


def sample() -> Tensor:
    return tiny_images(N, seed=5).floats(torch.arange(N))


def labels() -> Tensor:
    return tiny_images(N, seed=5).labels


@dataclass(frozen=True, kw_only=True)
class Handed:
    """Arguments of `check_inputs`; good ones where nothing is said."""

    model: nn.Module = field(default_factory=trained_net)
    x: Tensor = field(default_factory=sample)
    y: Tensor = field(default_factory=labels)
    threat: ThreatModel = LINF
    num_classes: int = CLASSES
    targets: int = 3


def check(handed: Handed) -> tuple[str, ...]:
    classes, targets = handed.num_classes, handed.targets
    return check_inputs(
        handed.model, handed.x, handed.y, handed.threat, num_classes=classes, targets=targets
    )


class Changed(nn.Module):
    """A trained network whose images or outputs are changed on their way."""

    def __init__(
        self,
        *,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        after: Callable[[Tensor], object] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.network = trained_net()
        self.before = before
        self.after = after
        self.eval()

    def forward(self, x: Tensor) -> object:
        return self.after(self.network(self.before(x)))


def changed(row: int, value: float) -> Tensor:
    x = sample()
    x[row, 0, 0, 0] = value
    return x


def without_two(logits: Tensor) -> Tensor:
    spoilt = logits.clone()
    spoilt[3], spoilt[7, 2] = torch.nan, torch.inf
    return spoilt


def with_bare_batch_norm() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    return nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), head).eval()


def with_one_layer_in_training(place: int) -> nn.Module:
    model = TinyNet().eval()
    model.layers[place].train()
    return model


def at_other_side() -> nn.Module:
    return build_model(
        timm_config("vit_tiny_patch16_224"), num_classes=CLASSES, resolution=16
    ).eval()


BAD: dict[str, tuple[Callable[[], Handed], str]] = {
    "no images": (lambda: Handed(x=sample()[:0]), "needs at least one image, got none; name more"),
    "uint8 images": (
        lambda: Handed(x=(255 * sample()).to(torch.uint8)),
        r"must be float32 on \[0, 1\], got uint8; x.float\(\) / 255",
    ),
    "half images": (lambda: Handed(x=sample().half()), r"float32 .*, got float16; x.float\(\)$"),
    "double images": (lambda: Handed(x=sample().double()), r"float32 .*, got float64; x.float"),
    "grey levels": (
        lambda: Handed(x=(255 * sample()).round()),
        r"lie on \[0, 1\], got values from . to 25.; divide by 255",
    ),
    "normalised images": (
        lambda: Handed(x=Normalize("imagenet")(sample())),
        r"lie on \[0, 1\], got values from -2.* to 2.*; normalisation belongs inside the model",
    ),
    "overshooting images": (
        lambda: Handed(x=changed(0, 1.02)),
        r"got values from .* to 1.02; bicubic resizing overshoots: x.clamp\(0, 1\)",
    ),
    "pixels that are no numbers": (
        lambda: Handed(x=changed(4, torch.nan)),
        "every pixel must be finite, and images 4 have others; decode again",
    ),
    "channels last": (
        lambda: Handed(x=sample().permute(0, 2, 3, 1)),
        r"shape \(n, 3, h, w\), got \(40, 8, 8, 3\); x.permute\(0, 3, 1, 2\)",
    ),
    "one-hot labels": (
        lambda: Handed(y=nn.functional.one_hot(labels())),
        r"labels must have the shape \(n,\), got \(40, 5\); .* y.argmax\(dim=1\)",
    ),
    "a label missing": (lambda: Handed(y=labels()[:-1]), "got 40 images and 39 labels"),
    "float labels": (lambda: Handed(y=labels().float()), r"int64, got float32; take y.long\(\)"),
    "labels from 1": (
        lambda: Handed(y=labels() + 1),
        "must lie between 0 and 4, got 1 to 5; count classes from 0: y - 1",
    ),
    "linf in grey levels": (
        lambda: Handed(threat=ThreatModel(norm="linf", eps=4.0)),
        r"exceeds the pixel range \[0, 1\]; did you mean '4/255'",
    ),
    "l2 in grey levels": (
        lambda: Handed(threat=ThreatModel(norm="l2", eps=0.5 * 255)),
        r"l2 eps must be at most 13.8564, the diameter .*\^192, got 127.5; .* divide by 255",
    ),
    "l1 in grey levels": (
        lambda: Handed(threat=ThreatModel(norm="l1", eps=3 * 255.0)),
        r"l1 eps must be at most 192, the diameter .*, got 765; .* divide by 255",
    ),
    "three classes": (
        lambda: Handed(num_classes=3, y=labels() % 3, targets=1),
        "targeted loss needs at least 4 classes, got 3",
    ),
    "more targets than other classes": (
        lambda: Handed(targets=5),
        r"targets \(5\) must be less than the number of classes \(5\)",
    ),
    "a model in training mode": (
        lambda: Handed(model=TinyNet()),
        r"must be in eval mode, and is in training mode; model.eval\(\)",
    ),
    "batch norm in training mode": (
        lambda: Handed(model=with_one_layer_in_training(1)),
        r"every layer .* layers.1 are in training mode \(BatchNorm follows the batch\); model.eval",
    ),
    "dropout in training mode": (
        lambda: Handed(model=with_one_layer_in_training(4)),
        r"every layer .* layers.4 are in training mode \(they may be random\); model.eval",
    ),
    "batch norm without statistics": (
        lambda: Handed(model=with_bare_batch_norm()),
        "must have running statistics, and 0 have none: .* train with track_running_stats",
    ),
    "a half model": (
        lambda: Handed(model=TinyNet().eval().half()),
        r"weights must be float32, got float16: .*; model.float\(\)",
    ),
    "images of another side": (
        lambda: Handed(model=at_other_side()),
        r"must take images of shape \(3, 8, 8\), and refuses them: Input height \(8\) doesn't "
        r"match model \(16\); cut them to its own side",
    ),
    "a tuple of outputs": (
        lambda: Handed(model=Changed(after=lambda logits: (logits, logits))),
        "must return a tensor of logits, got tuple; wrap it",
    ),
    "maps of logits": (
        lambda: Handed(model=Changed(after=lambda logits: logits[:, :, None, None])),
        r"shape \(n, classes\), here \(40, 5\), got \(40, 5, 1, 1\); pool and flatten",
    ),
    "a model of other classes": (
        lambda: Handed(num_classes=10),
        "must have the classes of the data, 10, and has 5; take the data that it was trained on",
    ),
    "logits in half precision": (
        lambda: Handed(model=Changed(after=lambda logits: logits.bfloat16())),
        "logits must be float32, got bfloat16; evaluate without autocast",
    ),
    "logits that are no numbers": (
        lambda: Handed(model=Changed(after=without_two)),
        "logits must be finite, and those of images 3, 7 are not; look for a division by zero",
    ),
    "no finite logits at all": (
        lambda: Handed(model=Changed(after=lambda logits: logits / 0)),
        "those of images 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 30 more are not",
    ),
    "probabilities": (
        lambda: Handed(model=Changed(after=lambda logits: logits.softmax(dim=1))),
        "must return logits, and every row is a probability distribution: .* leave out the softmax",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_with_its_rule_and_a_way_out(name: str) -> None:
    hand, words = BAD[name]

    with pytest.raises(ValueError, match=words):
        check(hand())


@pytest.mark.parametrize("threat", [LINF, L2, L1])
def test_a_healthy_evaluation_raises_no_word(threat: ThreatModel) -> None:
    assert check(Handed(threat=threat)) == ()


def test_images_at_the_ends_of_the_range_are_images() -> None:
    check_images(torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)]))


def test_log_probabilities_are_logits() -> None:
    """Their softmax is the same, so cross-entropy is, and DLR passes over a shift."""
    assert check(Handed(model=Changed(after=lambda logits: logits.log_softmax(dim=1)))) == ()


def test_the_model_is_left_as_it_was() -> None:
    model = copy.deepcopy(trained_net())
    model.zero_grad()

    check(Handed(model=model))

    assert not model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    for name, tensor in trained_net().state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


class ByBrightness(nn.Module):
    """Knows five greys by their mean after `layer`, but leaves the layer to others."""

    centres: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.centres = layer(GREYS).mean(dim=(1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return -(x.mean(dim=(1, 2, 3))[:, None] - self.centres).abs()


SUSPICIOUS: dict[str, tuple[Handed, str]] = {
    "normalisation outside the model": (
        Handed(model=ByBrightness(Normalize("imagenet")).eval(), x=GREYS[labels()]),
        r"clean accuracy is .*% of 40, but .*% of 40 with normalize=imagenet: it lacks its norm",
    ),
    "scaling outside the model": (
        Handed(model=Changed(before=lambda x: x / 255)),
        r"but .*% of 40 on pixels of \[0, 255\]: it lacks its scaling",
    ),
    "channels in another order": (
        Handed(model=Changed(before=lambda x: x.flip(1))),
        "but .*% of 40 with red and blue exchanged: it was trained on BGR",
    ),
    "classes that begin elsewhere": (
        Handed(model=Changed(after=lambda logits: logits.roll(1, dims=1))),
        r"clean accuracy is 0.0% of 40, but .*% of 40 with labels \+1: its classes begin elsewhere",
    ),
    "classes in another order": (
        Handed(model=Changed(after=lambda logits: logits[:, [2, 4, 3, 0, 1]])),
        "no better than a guess among 5 classes; are these the weights, and the classes in",
    ),
}


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_what_is_hardly_meant_is_a_warning(name: str) -> None:
    handed, words = SUSPICIOUS[name]

    (warning,) = check(handed)

    assert re.search(words, warning)


def only_images(x: Tensor) -> Tensor:
    check_images(x)
    return x


def test_a_model_that_takes_nothing_but_images_is_asked_nothing_else() -> None:
    assert check(Handed(model=Changed(before=only_images))) == ()
