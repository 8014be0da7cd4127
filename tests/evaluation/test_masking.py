"""Signs of masking: networks that mask on purpose, healthy ones, and both sides of each rule."""

import functools
import warnings
from collections.abc import Callable

import pytest
import torch
from pyautoattack import checks
from tiny_task import CPU, L1, L2, LINF, robust_net, tiny_images, trained_net
from torch import Tensor, nn

from evaluation.masking import masking_signs
from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import MaskingReport, signs_of
from trainers.attacks.gradient import input_gradient
from trainers.attacks.losses import dlr
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

IMAGES = 64
CONFIG = MaskingConfig(
    split="test",
    images=IMAGES,
    batch_size=64,
    seed=4,
    threat=LINF,
    passes=5,
    logit_change=1e-4,
    probability_slack=1e-5,
    zero_gradients=0.0,
    apgd_steps=15,
    eps_factors=(8.0, 0.5, 2.0),
    unbroken=0.01,
    few_steps=10,
    many_steps=50,
    square_queries=100,
    noise_draws=5,
    black_box_gain=0.002,
    loss_gap=0.04,
)
"""The thresholds that the strings of the config name, with fewer images, steps and queries."""


class Wrapped(nn.Module):
    """A network with something done to its images and to its logits."""

    def __init__(
        self,
        net: nn.Module,
        before: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.net(self.before(x)))


def nothing(x: Tensor) -> Tensor:
    return x


def quantise(x: Tensor) -> Tensor:
    return (x * 255 / 16).round() * 16 / 255


def detach(x: Tensor) -> Tensor:
    return (x * 255).to(torch.uint8) / 255


def add_noise(x: Tensor) -> Tensor:
    return x + 0.05 * torch.randn_like(x)


def spoil_gradient(x: Tensor) -> Tensor:
    return x + 0 * (x - x.detach()).abs().sqrt()  # 0 x the infinite slope of a root at 0


def ripple(x: Tensor) -> Tensor:
    """Adds waves with slopes of -1.2 to 1.2: small steps stop in them, long ones leap over."""
    period = 0.012
    return x + 1.2 * period / (2 * torch.pi) * torch.sin(2 * torch.pi * x / period)


def scale(logits: Tensor) -> Tensor:
    return 1000 * logits


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def scaled_softmax(logits: Tensor) -> Tensor:
    return softmax(scale(logits))


UNREACHED = ["unbroken at large eps", "black box beats white box"]
MASKED = {
    "scaled": (nothing, scale, ["saturated logits", "unbroken at large eps"]),
    "quantised": (quantise, nothing, ["non-differentiable input", *UNREACHED]),
    "detached": (detach, nothing, ["non-differentiable input", *UNREACHED]),
    "random": (add_noise, nothing, ["randomised output"]),
    "softmax": (nothing, softmax, ["probability output"]),
    "scaled softmax": (
        nothing,
        scaled_softmax,
        ["probability output", "saturated probabilities", "unbroken at large eps"],
    ),
    "spoilt": (spoil_gradient, nothing, ["non-finite gradients", *UNREACHED]),
}
"""What is done to images and logits, and all signs of it. Square, too, needs an unsaturated margin;
DLR breaks what is merely scaled, so that there a black box finds nothing more."""


def masked(name: str) -> nn.Module:
    before, after, _ = MASKED[name]
    return Wrapped(robust_net(), before, after)


def look(
    model: nn.Module, threat: ThreatModel = LINF, *, images: ImageSet | None = None
) -> MaskingReport:
    return masking_signs(
        model,
        images or tiny_images(IMAGES, seed=9),
        CONFIG.model_copy(update={"threat": threat}),
        device=CPU,
        report=lambda _: None,
    )


@functools.cache
def report_of(name: str) -> MaskingReport:
    return look(masked(name))


def names(report: MaskingReport) -> list[str]:
    return [sign.name for sign in report.signs]


# Networks


@pytest.mark.parametrize("name", MASKED)
def test_a_network_that_masks_has_the_signs_of_its_mask_and_no_other(name: str) -> None:
    assert names(report_of(name)) == MASKED[name][2]


@pytest.mark.parametrize(
    ("train", "threat", "least"),
    [
        (trained_net, LINF, 0.0),
        (robust_net, LINF, 0.4),
        (robust_net, L2, 0.4),
        (robust_net, L1, 0.0),
    ],
    ids=["clean linf", "robust linf", "robust l2", "robust l1"],
)
def test_a_healthy_network_has_no_sign(
    train: Callable[[], nn.Module], threat: ThreatModel, least: float
) -> None:
    report = look(train(), threat)

    assert report.signs == ()
    assert report.measured.apgd_dlr.accuracy.value >= least


def test_reasons_tell_saturation_from_a_blocked_gradient() -> None:
    scaled, blocked = report_of("scaled").signs[0], report_of("quantised").signs[0]

    assert "under dlr and at 64 under ce: something before the logits" in blocked.reason
    assert scaled.reason.endswith("changes, at 0: the softmax of ce underflows")
    assert "look again with the logits" in report_of("scaled softmax").signs[1].reason


def test_a_network_in_which_small_steps_get_stuck_is_told_by_more_steps() -> None:
    report = look(Wrapped(trained_net(), ripple, nothing))

    assert names(report) == ["more steps help the defence"]
    assert report.signs[0].reason.startswith("pgd10 accuracy is ")


@pytest.mark.parametrize("name", MASKED)
def test_flags_of_autoattack_agree(name: str) -> None:
    """The package's own checks, on the same images; of zero gradients it asks DLR's alone."""
    images, model = tiny_images(IMAGES, seed=9), masked(name)
    x, y = images.floats(torch.arange(IMAGES)), images.labels
    is_right = torch.tensor(report_of(name).measured.clean.is_right)
    x, y = x[is_right], y[is_right]

    with warnings.catch_warnings(record=True) as caught, torch.random.fork_rng():
        warnings.simplefilter("always")
        checks.check_randomized(model, x, y)
        checks.check_range_output(model, x)
        if name != "detached":  # where autograd refuses
            grad = input_gradient(model, x, lambda logits: dlr(logits, y))
            checks.check_zero_gradients(grad)
    told = " ".join(str(one.message) for one in caught)

    found = names(report_of(name))
    assert ("randomized defense" in told) == ("randomised output" in found)
    assert ("probability distribution" in told) == ("probability output" in found)
    blocked = {"non-differentiable input", "saturated probabilities"} & set(found)
    assert ("zero gradient" in told) == (bool(blocked) and name != "detached")


# What is measured


def test_on_two_linear_logits_the_sweep_is_what_no_attack_can_break() -> None:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(60, 196, (IMAGES, 3, 8, 8), generator=generator, dtype=torch.uint8)
    difference = torch.randn(192, generator=generator)
    linear = nn.Linear(192, 3)
    x = (pixels / 255).flatten(1)
    with torch.no_grad():
        linear.weight.copy_(torch.stack([difference, 0 * difference, 0 * difference]))
        linear.bias.copy_(torch.tensor([-float((x @ difference).mean()), 0.0, -100.0]))
    margins = (x - x.mean(dim=0)) @ difference  # the third class is never near
    images = ImageSet(images=pixels, labels=(margins < 0).to(torch.int64))
    threat = ThreatModel(norm="linf", eps=2 / 255)

    report = look(nn.Sequential(nn.Flatten(), linear), threat, images=images)

    for outcome in report.measured.sweep:
        withstands = margins.abs() > outcome.eps * difference.abs().sum()
        assert outcome.is_right == tuple(withstands.tolist())
    assert report.measured.apgd_dlr.is_right == report.measured.apgd_ce.is_right
    assert report.signs == ()


def test_a_report_leaves_no_trace_and_can_be_had_again() -> None:
    model = masked("random").train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)

    again = look(model)

    assert torch.equal(torch.rand(4), expected)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert again == report_of("random")
    robust_net().eval()


def test_a_report_survives_json_and_its_signs_follow_from_its_numbers() -> None:
    report = report_of("quantised")

    again = MaskingReport.model_validate_json(report.model_dump_json())

    assert again == report
    assert signs_of(again.measured, CONFIG) == report.signs


def test_every_outcome_names_its_attack_and_only_square_and_noise_build_on_others() -> None:
    measured = report_of("scaled").measured

    assert [(one.attack, round(one.eps / LINF.eps, 6)) for one in measured.outcomes] == [
        ("clean", 0.0),
        *[("apgd_ce15", factor) for factor in (0.5, 1.0, 2.0, 8.0)],
        ("apgd_dlr15", 1.0),
        ("pgd10", 1.0),
        ("pgd50", 1.0),
        ("square100", 1.0),
        ("noise5", 1.0),
    ]
    assert measured.square.accuracy.correct <= measured.apgd_dlr.accuracy.correct


def test_a_network_that_gets_nothing_right_has_no_sign() -> None:
    images = tiny_images(IMAGES, seed=9)
    wrong = ImageSet(images=images.images, labels=(images.labels + 1) % 5)

    assert look(robust_net(), images=wrong).signs == ()


def test_logits_that_are_not_finite_are_refused() -> None:
    model = Wrapped(robust_net(), nothing, lambda logits: logits / 0)

    with pytest.raises(ValueError, match=f"must be finite, those of {IMAGES} of {IMAGES} are not"):
        look(model)
