"""The engine: the package's verdict, whatever the batch, the company or the interruptions."""

import functools

import pytest
import torch
from tiny_task import CPU, L1, L2, LINF, TinyNet, tiny_images, trained_net
from torch import Tensor, nn

from evaluation.autoattack import attack_batch
from evaluation.config import ReferenceConfig
from evaluation.engine.engine import Engine, Outcome, SearchConfig
from evaluation.engine.stages import EvaluationAttack, Stage, stages_of, version_attacks
from evaluation.per_image import ImageResult, results_of
from evaluation.progress import ROBUST
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

N = 40
SHORT = (
    EvaluationAttack(name="apgd-ce", steps=1, restarts=2, targets=0, passes=1, shrinks=False),
    EvaluationAttack(name="apgd-t", steps=20, restarts=1, targets=4, passes=1, shrinks=False),
    EvaluationAttack(name="fab-t", steps=10, restarts=1, targets=4, passes=1, shrinks=False),
    EvaluationAttack(name="square", steps=60, restarts=1, targets=0, passes=1, shrinks=False),
)


def search(batch_size: int, **changes: object) -> SearchConfig:
    fields = {"batch_size": batch_size, "precision": "fp32", "compile": False, "seed": 3}
    return SearchConfig.model_validate(fields | changes)


@functools.cache
def images() -> ImageSet:
    return tiny_images(N, seed=2)


def run(
    threat: ThreatModel,
    stages: tuple[Stage, ...],
    config: SearchConfig,
    *,
    model: nn.Module | None = None,
    index: range = range(N),
    known: dict[tuple[int, int], Outcome] | None = None,
) -> tuple[list[ImageResult], dict[tuple[int, int], Outcome]]:
    engine = Engine(model or trained_net(), images(), threat, config, numbers=range(N), device=CPU)
    clean = engine.look(index, targets=4)
    outcomes = dict(known or {})

    def note(outcome: Outcome, x_adv: Tensor | None) -> None:
        assert (outcome.image, outcome.stage) not in outcomes  # nothing is done twice
        assert outcome.is_broken == (x_adv is not None)
        outcomes[outcome.image, outcome.stage] = outcome

    before = {place: outcome.is_broken for place, outcome in outcomes.items()}
    engine.attack(clean, stages, known=before, on_outcome=note)
    return results_of(clean, stages, outcomes), outcomes


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_standard_agrees_with_the_package(threat: ThreatModel) -> None:
    few = images().first(12)
    config = ReferenceConfig(version="standard", images=12, batch_size=12, seed=7)
    x = few.floats(torch.arange(12))
    theirs = attack_batch(trained_net(), x, few.labels, threat, config, device=CPU)
    stages = stages_of(version_attacks("standard", threat.norm, num_classes=5))

    ours, _ = run(threat, stages, search(16), index=range(12))

    differing = sum(
        (a.outcome == ROBUST) != (b == ROBUST) for a, b in zip(ours, theirs.outcomes, strict=True)
    )
    assert differing == 0
    assert 0 < sum(one.outcome == ROBUST for one in ours) < 12


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=lambda threat: threat.norm)
def test_batch_and_company_change_nothing(threat: ThreatModel) -> None:
    stages = stages_of(SHORT)
    whole, _ = run(threat, stages, search(16))

    other, _ = run(threat, stages, search(9))
    parts = [run(threat, stages, search(16), index=range(k, N, 3))[0] for k in range(3)]

    together = sorted((one for part in parts for one in part), key=lambda one: one.image)
    assert repr(other) == repr(whole)  # repr: NaN equals itself
    assert repr(together) == repr(whole)
    assert len({one.outcome for one in whole}) >= 3


def test_a_part_of_the_images_is_attacked_as_in_the_whole() -> None:
    stages, numbers = stages_of(SHORT), range(1, N, 4)
    whole, _ = run(LINF, stages, search(16))
    part = ImageSet(images=images().images[1::4], labels=images().labels[1::4])
    engine = Engine(trained_net(), part, LINF, search(16), numbers=numbers, device=CPU)
    clean = engine.look(numbers, targets=4)
    outcomes: dict[tuple[int, int], Outcome] = {}

    def note(outcome: Outcome, x_adv: Tensor | None) -> None:
        outcomes[outcome.image, outcome.stage] = outcome

    engine.attack(clean, stages, known={}, on_outcome=note)

    assert repr(results_of(clean, stages, outcomes)) == repr(whole[1::4])


def test_what_is_known_is_not_done_again() -> None:
    stages = stages_of(SHORT)
    whole, outcomes = run(LINF, stages, search(16))
    half = dict(list(outcomes.items())[: len(outcomes) // 2])

    resumed, _ = run(LINF, stages, search(16), known=half)

    assert repr(resumed) == repr(whole)


def test_broken_images_are_inside_the_ball_and_wrong() -> None:
    results, _ = run(LINF, stages_of(SHORT), search(16))

    broken = [one for one in results if one.iteration >= 0]
    assert broken
    assert all(0 < one.norm <= LINF.eps * 1.0001 and one.margin < 0 for one in broken)
    assert any(one.target >= 0 and one.target != one.label for one in broken)


class Rounded(nn.Module):
    """A network that, while gradients are made, sees what a coarse number format would."""

    def __init__(self) -> None:
        super().__init__()
        self.net = trained_net()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return (
            logits - 3.0
            if not torch.is_grad_enabled()
            else logits * torch.tensor([-1.0, 1, 1, 1, 1])
        )


def test_a_success_that_the_plain_model_denies_does_not_count() -> None:
    stages = stages_of(SHORT[:1])
    tiny_eps = ThreatModel(norm="linf", eps=1e-4)

    results, _ = run(tiny_eps, stages, search(16), model=Rounded())

    honest, _ = run(tiny_eps, stages, search(16))
    assert [one.outcome for one in results] == [one.outcome for one in honest]


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"compile": True}], ids=str)
def test_faster_searches_find_what_the_plain_one_finds(changes: dict[str, object]) -> None:
    if "compile" in changes:
        pytest.importorskip("torch._inductor")
    stages = stages_of(SHORT[:2])
    plain, _ = run(LINF, stages, search(16))

    fast, _ = run(LINF, stages, search(16, **changes))

    robust = [[one.outcome == ROBUST for one in results] for results in (plain, fast)]
    assert sum(a != b for a, b in zip(*robust, strict=True)) <= 1


def test_averaged_gradients_attack_a_random_model() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return trained_net()(x) + 0.3 * torch.randn(len(x), 5)

    torch.manual_seed(0)
    stages = stages_of(version_attacks("rand", "linf", num_classes=5))
    short = tuple(
        Stage(
            number=stage.number,
            attack=stage.attack.model_copy(update={"steps": 10}),
            rank=0,
            restart=0,
        )
        for stage in stages
    )

    results, _ = run(LINF, short, search(20), model=Noisy())

    plain, _ = run(LINF, stages_of(SHORT[:1]), search(20))
    robust = [sum(one.outcome == ROBUST for one in rows) for rows in (results, plain)]
    assert robust[0] <= robust[1] + 2


def test_logits_that_are_not_finite_are_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    net.requires_grad_(False)[1].get_parameter("weight")[0, 0] = torch.nan

    with pytest.raises(ValueError, match="logits must be finite"):
        run(LINF, stages_of(SHORT), search(8), model=net)


def test_more_targets_than_wrong_classes_are_refused() -> None:
    engine = Engine(TinyNet().eval(), images(), LINF, search(8), numbers=range(N), device=CPU)

    with pytest.raises(ValueError, match=r"targets \(5\) must be less than the number of classes"):
        engine.look(range(4), targets=5)


def test_a_tie_that_the_label_loses_counts_as_in_autoattack() -> None:
    class Tied(nn.Module):
        """Class 0 ties with the label as soon as anything was changed."""

        def forward(self, x: Tensor) -> Tensor:
            clean = images().floats(torch.arange(N))
            is_clean = (x.detach().unsqueeze(1) == clean).flatten(2).all(dim=2).any(dim=1)
            logits = torch.zeros(len(x), 5)
            logits[:, 1] = 1.0
            logits[:, 0] = torch.where(is_clean, 0.0, 1.0)
            return logits + 0 * x.sum()

    results, _ = run(LINF, stages_of(SHORT[:1]), search(16), model=Tied())

    broken = [one for one in results if one.label == 1]
    assert broken
    assert all((one.outcome, one.margin) == ("apgd-ce", 0.0) for one in broken)
