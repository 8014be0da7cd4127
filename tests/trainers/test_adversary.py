"""What is attacked, how far and at what, for every field of an `AttackConfig`."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_models import any_images, interior_images, trained_network
from torch import Tensor, nn
from trial_factory import tiny_trial

from trainers.adversary import Adversary
from trainers.attacks.apgd import apgd
from trainers.attacks.losses import cross_entropy
from trainers.compute import in_precision
from trainers.threat import ThreatModel

X = interior_images(20)
Y = torch.arange(20) % 5
TARGETS = F.one_hot(Y, 5).float() * 0.9 + 0.02
MODEL = trained_network(X, Y, 5)
EPS = 0.05


def attacked(
    *, radius: float = 1.0, steps: int = 2, turn: int = 0, x: Tensor = X, **attack: Any
) -> Tensor:
    config = tiny_trial(threat={"norm": "linf", "eps": EPS}, attack={"steps": steps, **attack})
    return Adversary(MODEL, config)(
        x, TARGETS, radius=radius, steps=steps, turn=turn, generator=torch.Generator()
    )


def losses(x: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(MODEL(x), TARGETS, reduction="none")


def test_a_radius_of_zero_trains_on_clean_images() -> None:
    assert attacked(radius=0.0, name="pgd", noise=1.0) is X


def test_clean_training_runs_no_attack() -> None:
    assert attacked(fraction=0.0) is X


def test_a_fraction_attacks_the_first_images_and_leaves_the_rest() -> None:
    x_adv = attacked(fraction=0.25)

    assert torch.equal(x_adv[5:], X[5:])
    assert (x_adv[:5] != X[:5]).flatten(1).any(dim=1).all()
    torch.testing.assert_close(x_adv[:5], attacked()[:5])


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
def test_the_radius_follows_the_schedule(name: str) -> None:
    x_adv = attacked(name=name, steps=1, reach=2.0, radius=0.4)

    torch.testing.assert_close((x_adv - X).abs().amax(), torch.tensor(0.4 * EPS))


def test_soft_labels_reach_the_attack() -> None:
    threat = ThreatModel(norm="linf", eps=EPS)

    direct = apgd(
        MODEL, X, Y, threat, steps=2, loss=lambda z: cross_entropy(z, TARGETS), start=None
    ).best

    assert torch.equal(attacked(), direct)


def test_n_fgsm_leaves_the_ball_and_never_the_box() -> None:
    x_adv = attacked(x=any_images(20), name="fgsm", steps=1, reach=1.0, noise=2.0, project=False)

    distance = (x_adv - any_images(20)).abs().amax()
    assert EPS < distance <= 3 * EPS + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("target", ["random", "least_likely"])
def test_a_target_rises_at_the_cost_of_the_label(loss: str, target: str) -> None:
    x_adv = attacked(name="pgd", steps=10, loss=loss, target=target)

    with torch.no_grad():
        clean, after = MODEL(X).softmax(dim=1), MODEL(x_adv).softmax(dim=1)
    rows = torch.arange(20)
    assert (after[rows, Y] < clean[rows, Y]).float().mean() > 0.9
    if target == "least_likely":
        aims = MODEL(X).argmin(dim=1)
        assert (after[rows, aims] > clean[rows, aims]).float().mean() > 0.9


def test_kl_moves_the_prediction_away_from_the_clean_one() -> None:
    x_adv = attacked(name="pgd", steps=5, loss="kl", noise=0.1)
    x_noisy = X + EPS * torch.randn(X.shape, generator=torch.Generator()).sign()

    with torch.no_grad():
        clean, after, noisy = (MODEL(x).log_softmax(dim=1) for x in (X, x_adv, x_noisy))
    moved = F.kl_div(after, clean, log_target=True, reduction="batchmean")
    assert moved > 10 * F.kl_div(noisy, clean, log_target=True, reduction="batchmean")


ALSO: dict[str, Any] = {
    "name": "pgd",
    "steps": 4,
    "also": [{"norm": "l2", "eps": 1.0}, {"norm": "l1", "eps": 8.0}],
}


def test_average_returns_the_batch_once_per_threat() -> None:
    batches = attacked(**ALSO, union="average").chunk(3)

    sizes = [
        (batch - X).flatten(1).norm(p=p, dim=1).max().item()
        for batch, p in zip(batches, (torch.inf, 2, 1), strict=True)
    ]
    assert sizes == pytest.approx([EPS, 1.0, 8.0], rel=1e-4)


def test_max_takes_for_each_image_the_threat_of_the_highest_loss() -> None:
    batches = attacked(**ALSO, union="average").chunk(3)

    worst = attacked(**ALSO, union="max")

    torch.testing.assert_close(losses(worst), torch.stack([*map(losses, batches)]).amax(dim=0))


def test_alternate_takes_the_threats_in_turn() -> None:
    batches = attacked(**ALSO, union="average").chunk(3)

    for turn in range(4):
        assert torch.equal(attacked(**ALSO, union="alternate", turn=turn), batches[turn % 3])


def test_msd_ends_inside_one_of_the_balls_and_above_the_clean_loss() -> None:
    x_adv = attacked(**ALSO, union="msd")

    delta = (x_adv - X).flatten(1)
    inside = [
        delta.norm(p=p, dim=1) <= eps * (1 + 1e-5)
        for p, eps in ((torch.inf, EPS), (2, 1.0), (1, 8.0))
    ]
    assert torch.stack(inside).any(dim=0).all()
    assert (losses(x_adv) > losses(X)).all()


def test_random_numbers_come_from_the_generator_alone() -> None:
    config = tiny_trial(attack={"name": "pgd", "noise": 1.0, "target": "random"})
    adversary = Adversary(MODEL, config)

    def once(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return adversary(X, TARGETS, radius=1.0, steps=2, turn=0, generator=generator)

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_bf16_attacks_end_inside_the_ball_in_fp32() -> None:
    threat = {"norm": "linf", "eps": "4/255"}
    config = tiny_trial(threat=threat, compute={"precision": "bf16"}, attack={"steps": 5})
    network = in_precision(MODEL, config.compute)
    seen: list[torch.dtype] = []
    conv = next(m for m in MODEL.modules() if isinstance(m, nn.Conv2d))
    handle = conv.register_forward_hook(lambda _m, _x, out: seen.append(out.dtype))

    x_adv = Adversary(network, config)(
        X, TARGETS, radius=1.0, steps=5, turn=0, generator=torch.Generator()
    )

    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert network(X).dtype == x_adv.dtype == torch.float32
    assert (x_adv - X).abs().amax() <= 4 / 255 + 1e-7
    assert (losses(x_adv) > losses(X)).all()


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ({"name": "fgsm", "steps": 2}, "fgsm takes 1 step, got steps=2; take name=pgd"),
        ({"name": "pgd", "project": False}, "project=false is N-FGSM: it needs name=fgsm"),
        ({"loss": "kl", "noise": 1.0, "target": "random"}, "loss=kl has no target"),
        ({"loss": "kl"}, "loss=kl needs noise > 0"),
        ({"noise": 1.5}, r"attack\.noise=1\.5 starts outside the ball; above 1 it needs name=fgsm"),
        (
            {"union": "msd", "also": [{"norm": "l2", "eps": 1.0}]},
            "union=msd needs name=pgd, got name='apgd'",
        ),
    ],
)
def test_attacks_that_cannot_be_are_refused(attack: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_trial(attack=attack)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"objective": {"name": "trades"}, "attack": {"fraction": 0.5}},
            r"objective trades weighs .* needs attack\.fraction=1, got 0\.5",
        ),
        ({"objective": {"name": "mart"}}, "mart is defined for hard labels"),
    ],
)
def test_objectives_that_do_not_fit_the_attack_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_trial(**changes)
