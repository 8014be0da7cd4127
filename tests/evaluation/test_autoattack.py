"""The reference path: the package's own verdict, resumable, and isolated from the process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyautoattack
import pytest
import torch
from pyautoattack import checks
from tiny_task import (
    CPU,
    L1,
    LINF,
    PACKAGE,
    TinyNet,
    attacked_by_reference,
    reference_config,
    tiny_images,
    trained_net,
)
from torch import Tensor, nn

from evaluation.autoattack import PACKAGE_NORMS, SEQUENCES, attack_batch, reference_autoattack
from evaluation.config import ReferenceConfig
from evaluation.engine.stages import EvaluationAttack, version_attacks
from evaluation.progress import MISCLASSIFIED, ROBUST, ReferenceProgress, pick_examples
from evaluation.weights import model_hash
from trainers.data.images import ImageSet
from trainers.threat import ThreatModel

WIDE = ThreatModel(norm="linf", eps=32 / 255)  # breaks every image of the tiny task, fast
WIDE_L2 = ThreatModel(norm="l2", eps=2.0)


class KilledError(Exception):
    """Stands for a signal that ends the process between two batches."""


def kill_after(images: int) -> Callable[[int, int], None]:
    def on_batch(done: int, total: int) -> None:
        if done >= images:
            raise KilledError

    return on_batch


def ignore(done: int, total: int) -> None:
    """Listens to nothing."""


def run(partial: Path, on_batch: Callable[[int, int], None] = ignore) -> ReferenceProgress:
    return reference_autoattack(
        trained_net(),
        tiny_images(20, seed=2),
        WIDE,
        reference_config(images=15, batch_size=6),
        partial=partial,
        device=CPU,
        on_batch=on_batch,
    )


def package_alone(images: ImageSet, threat: ThreatModel) -> tuple[Tensor, list[bool]]:
    """What the package says when nothing of ours stands between: images, and who is robust."""
    package = pyautoattack.AutoAttack(
        trained_net(), norm=PACKAGE_NORMS[threat.norm], eps=threat.eps, seed=7
    )
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = 4
    x, y = images.floats(torch.arange(len(images))), images.labels
    tracer = sys.gettrace()
    x_adv, predicted = package.run_standard_evaluation(x, y, batch_size=16)
    sys.settrace(tracer)  # the package's check ends whatever traces, a coverage run for one
    assert package.attacks_to_run == list(SEQUENCES["standard"])
    return x_adv, (predicted == y).tolist()


def test_outcomes_are_those_of_the_package_in_one_go() -> None:
    images, ours = attacked_by_reference()

    x_adv, is_robust = package_alone(images, LINF)

    assert [outcome == ROBUST for outcome in ours.outcomes] == is_robust
    assert 0 < sum(is_robust) < 16
    assert torch.equal(ours.x_adv, x_adv)


@pytest.mark.parametrize(
    "threat",
    [WIDE_L2, pytest.param(L1, marks=pytest.mark.slow)],
    ids=lambda threat: threat.norm,
)
def test_outcomes_in_other_norms_are_those_of_the_package(threat: ThreatModel) -> None:
    images = tiny_images(6, seed=3)
    x = images.floats(torch.arange(6))

    ours = attack_batch(trained_net(), x, images.labels, threat, PACKAGE, device=CPU)

    x_adv, is_robust = package_alone(images, threat)
    assert [outcome == ROBUST for outcome in ours.outcomes] == is_robust
    assert torch.equal(ours.x_adv, x_adv)


def package_config(version: str, *attacks: EvaluationAttack) -> ReferenceConfig:
    fields = {"version": version, "attacks": attacks, "images": 1, "batch_size": 1, "seed": 7}
    return ReferenceConfig.model_validate(fields)


def test_custom_attacks_do_what_those_of_standard_do() -> None:
    images, standard = attacked_by_reference()
    x = images.floats(torch.arange(16))
    attacks = version_attacks("standard", "linf", num_classes=5)[:2]

    ours = attack_batch(
        trained_net(), x, images.labels, LINF, package_config("custom", *attacks), device=CPU
    )

    expected = [
        name if name in ("apgd-ce", "apgd-t", MISCLASSIFIED) else ROBUST
        for name in standard.outcomes
    ]
    assert list(ours.outcomes) == expected
    assert ROBUST in expected


def test_random_models_are_attacked_by_averaged_gradients() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return trained_net()(x) + 0.5 * torch.randn(len(x), 5)

    images = tiny_images(6, seed=3)
    x = images.floats(torch.arange(6))

    batch = attack_batch(Noisy(), x, images.labels, WIDE, package_config("rand"), device=CPU)

    assert set(batch.outcomes) <= {MISCLASSIFIED, ROBUST, "apgd-ce", "apgd-dlr"}
    assert batch.outcomes.count("apgd-ce") >= 3


@pytest.mark.slow
def test_plus_is_never_above_standard() -> None:
    images = tiny_images(8, seed=3)
    x = images.floats(torch.arange(8))

    plus, standard = (
        attack_batch(trained_net(), x, images.labels, LINF, package_config(version), device=CPU)
        for version in ("plus", "standard")
    )

    assert plus.outcomes.count(ROBUST) <= standard.outcomes.count(ROBUST)


@pytest.mark.parametrize(("version", "count"), [("custom", 0), ("standard", 1)])
def test_attacks_are_for_version_custom(version: str, count: int) -> None:
    attacks = version_attacks("standard", "linf", num_classes=5)[:count]

    with pytest.raises(ValueError, match="attacks are for version=custom and only for it"):
        package_config(version, *attacks)


def test_interrupted_evaluation_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    attacked: list[int] = []
    with pytest.raises(KilledError):
        run(tmp_path / "killed.json", kill_after(6))

    resumed = run(tmp_path / "killed.json", lambda done, total: attacked.append(done))

    uninterrupted = run(tmp_path / "whole.json")
    assert attacked == [12, 15]  # the finished batch of 6 was not attacked again
    assert resumed.model_copy(update={"seconds": 0}) == uninterrupted.model_copy(
        update={"seconds": 0}
    )


def test_finished_progress_is_returned_without_work(tmp_path: Path) -> None:
    first = run(tmp_path / "partial.json")

    again = run(tmp_path / "partial.json", kill_after(0))

    assert again == first


def test_examples_come_back_bit_for_bit(tmp_path: Path) -> None:
    progress = run(tmp_path / "partial.json")

    images = tiny_images(20, seed=2)
    saved = ReferenceProgress.model_validate_json((tmp_path / "partial.json").read_bytes())
    example = saved.examples[0]
    norm = (example.x_adv - images.floats(torch.tensor([example.index]))[0]).abs().max()
    assert saved == progress
    assert len(progress.examples) == 8
    assert float(norm) == pytest.approx(progress.perturbations[example.index])


@pytest.mark.parametrize(
    ("path", "value"),
    [("model_hash", "0" * 12), ("data_hash", "0" * 12), ("attack_package", "pyautoattack 0.1")],
)
def test_progress_of_another_evaluation_is_refused(tmp_path: Path, path: str, value: str) -> None:
    partial = tmp_path / "partial.json"
    run(partial)
    saved = json.loads(partial.read_text())
    saved["identity"][path] = value
    partial.write_text(json.dumps(saved))

    with pytest.raises(ValueError, match=f"another evaluation: {path} is {value} there and"):
        run(partial)


def test_progress_of_another_seed_is_refused(tmp_path: Path) -> None:
    partial = tmp_path / "partial.json"
    run(partial)
    partial.write_text(partial.read_text().replace('"seed":5', '"seed":6'))

    with pytest.raises(ValueError, match="another evaluation: config is"):
        run(partial)


def test_file_that_is_no_progress_is_refused(tmp_path: Path) -> None:
    partial = tmp_path / "partial.json"
    partial.write_text('{"schema_version": 1')

    with pytest.raises(ValueError, match="is not the progress of an evaluation"):
        run(partial)


def test_misclassified_images_are_not_attacked() -> None:
    images = tiny_images(10, seed=2)
    x = images.floats(torch.arange(10))
    wrong = (images.labels + 1) % 5

    batch = attack_batch(trained_net(), x, wrong, WIDE, PACKAGE, device=CPU)

    assert batch.outcomes == (MISCLASSIFIED,) * 10
    assert torch.equal(batch.x_adv, x)


def test_process_is_left_as_it_was() -> None:
    net, images = TinyNet().train(), tiny_images(5, seed=2)
    torch.manual_seed(11)
    random_state = torch.random.get_rng_state()
    check = checks.check_dynamic

    attack_batch(net, images.floats(torch.arange(5)), images.labels, WIDE, PACKAGE, device=CPU)

    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert checks.check_dynamic is check
    assert not any(checks.funcs.values())
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_three_classes_are_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    images = tiny_images(5, seed=2)

    with pytest.raises(ValueError, match="at least 4 classes, got 3"):
        attack_batch(net, images.floats(torch.arange(5)), images.labels, WIDE, PACKAGE, device=CPU)


def test_examples_are_of_distinct_classes_first() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    is_broken = [True, True, False, True, True, True]

    assert pick_examples(labels, is_broken, limit=4) == [0, 3, 4, 1]


def test_examples_can_be_picked_while_images_arrive() -> None:
    generator = torch.Generator().manual_seed(6)
    labels: list[int] = torch.randint(0, 5, (60,), generator=generator).tolist()
    is_broken = [bool(flag) for flag in torch.randint(0, 2, (60,), generator=generator)]

    kept: list[int] = []
    for done in range(0, 60, 7):
        now = pick_examples(labels[: done + 7], is_broken[: done + 7], limit=8)
        assert all(i in kept or i >= done for i in now)
        kept = now

    assert kept == pick_examples(labels, is_broken, limit=8)


def test_model_hash_sees_weights_and_buffers_and_nothing_else() -> None:
    net, same = TinyNet(), TinyNet()
    same.load_state_dict(net.state_dict())
    before = model_hash(net)

    assert model_hash(same.train()) == before
    same.layers[1].get_buffer("running_mean").add_(1e-6)
    assert model_hash(same) != before
