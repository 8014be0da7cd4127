"""From a checkpoint on disk to `result.json` and the examples beside it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from base_trial import base_trial
from tiny_task import CPU, reference_config

from evaluation.evaluate import evaluate_checkpoint
from evaluation.result import EvaluationResult
from evaluation.weights import model_hash
from models.registry import build_model
from trainers.checkpoint import TrainState, load_model, save_checkpoint
from trainers.config import TrialConfig
from trainers.metrics import Progress

TRIAL = TrialConfig.model_validate(
    base_trial(
        data={"train_images": 12, "test_images": 48},
        model={"stem": "patch", "layer_scale": 0},
        threat={"eps": "64/255"},
    )
)


def save_untrained(folder: Path, *, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(TRIAL.model, num_classes=12, resolution=16)
    progress = Progress(
        params_m=0.01,
        gmacs=0.0,
        start="random weights",
        images="0" * 12,
        clean_seconds=0.0,
        first_step_at=0.0,
        events=(),
        history=(),
    )
    save_checkpoint(
        folder,
        TrainState(
            config=TRIAL,
            epoch=1,
            losses=torch.zeros(0),
            hits=torch.zeros(0),
            seconds=0.0,
            lr_factor=1.0,
            workers=1,
            progress=progress,
            model=model.state_dict(),
            ema=None,
            optimizer={},
        ),
    )
    return folder


def evaluate(folder: Path, out: Path, *, images: int = 48) -> tuple[EvaluationResult, list[int]]:
    batches: list[int] = []
    result = evaluate_checkpoint(
        folder,
        reference_config(images=images, batch_size=24),
        out,
        device=CPU,
        on_batch=lambda done, total: batches.append(done),
    )
    return result, batches


def test_checkpoint_becomes_a_result_with_its_evidence(tmp_path: Path) -> None:
    folder, out = save_untrained(tmp_path / "checkpoint", seed=0), tmp_path / "out"

    result, batches = evaluate(folder, out)

    written = EvaluationResult.model_validate_json((out / "result.json").read_bytes())
    broken = result.clean.correct - result.robust.correct
    assert written == result
    assert batches == [24, 48]
    assert sum(result.broken_by.values()) == broken > 0
    assert 0 < result.largest_perturbation <= TRIAL.threat.eps * 1.0001
    assert result.model_hash == model_hash(load_model(folder)[1])
    assert (result.attack, result.clean.n) == ("autoattack-standard", 48)
    assert not (out / "result.partial.json").exists()


def test_examples_show_what_the_attack_did(tmp_path: Path) -> None:
    folder, out = save_untrained(tmp_path / "checkpoint", seed=0), tmp_path / "out"

    result, _ = evaluate(folder, out)

    with np.load(out / "examples.npz") as file:
        examples = dict(file)
    broken = [
        clean and not robust
        for clean, robust in zip(result.is_clean_correct, result.is_robust, strict=True)
    ]
    shown = [i for i in examples["index"].tolist() if broken[i]]
    distance = np.abs(examples["adversarial"] - examples["clean"].astype(np.float32) / 255)
    assert len(shown) == min(8, sum(broken))
    assert examples["clean"].dtype == np.uint8
    assert distance.max() <= TRIAL.threat.eps * 1.0001
    for row, i in enumerate(examples["index"].tolist()):
        assert examples["clean_prediction"][row] == examples["labels"][row]
        assert (examples["adversarial_prediction"][row] != examples["labels"][row]) == broken[i]


def test_second_call_returns_the_finished_result_without_work(tmp_path: Path) -> None:
    folder, out = save_untrained(tmp_path / "checkpoint", seed=0), tmp_path / "out"
    first, _ = evaluate(folder, out)

    again, batches = evaluate(folder, out)

    assert again == first
    assert batches == []


def test_result_of_another_model_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evaluate(save_untrained(tmp_path / "one", seed=0), out)

    with pytest.raises(ValueError, match="belongs to another evaluation: model_hash is"):
        evaluate(save_untrained(tmp_path / "other", seed=1), out)


def test_more_images_than_the_test_split_has_are_refused(tmp_path: Path) -> None:
    folder = save_untrained(tmp_path / "checkpoint", seed=0)

    with pytest.raises(ValueError, match=r"images \(60\) must not exceed .*test_images \(48\)"):
        evaluate(folder, tmp_path / "out", images=60)
