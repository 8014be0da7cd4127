"""What a search leaves behind, made up. pytest puts this folder on the path of the tests in it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from base_trial import base_trial
from diagnosis_factory import DIAGNOSIS, probe

from evaluation.engine.stages import version_attacks
from evaluation.result import EvaluationResult
from search.books.records import FullRun, Status, TrialRecord, write_record
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.overrides import with_overrides
from trainers.atomic import write_atomically
from trainers.config import TrialConfig, config_hash
from trainers.metrics import Accuracy, Check, EpochMetrics, Progress

ATTACK = "apgd_ce10+apgd_t3x10"
RUNGS = (3, 6, 12)
BASE = base_trial(
    data={
        "resolution": 32,
        "train_images": 960,
        "select_images": 120,
        "test_images": 240,
        "seed": 5,
    },
    model={"stem": "patch", "stem_stride": 2, "widths": [16, 32], "layer_scale": 0},
    attack={"name": "pgd", "steps": 1},
    augment={"crop_scale": 0.5, "flip": 0.5},
    optim={"lr": 0.002, "reference_batch": 96, "betas": [0.9, 0.999], "clip_norm": 0},
    epochs=12,
    batch_size=96,
    seed=7,
)


def trial_config(**overrides: Any) -> TrialConfig:
    """Returns the base trial; `optim__lr=1` stands for the path `optim.lr`."""
    changes = {path.replace("__", "."): value for path, value in overrides.items()}
    return with_overrides(TrialConfig.model_validate(BASE), changes)


def experiment(root: Path, *, trials: int = 12) -> ExperimentConfig:
    """Returns a search named `photos` under `root`."""
    return ExperimentConfig.model_validate(
        {
            "name": "photos",
            "runs_dir": str(root),
            "base": BASE,
            "space": {
                "optim.lr": {"log_uniform": [1e-4, 1e-2]},
                "attack.name": {"choice": ["pgd", "apgd"]},
                "model.depths": {"choice": [[1, 1], [1, 2]]},
            },
            "constraints": {},
            "warm_start": ["canonical"],
            "sampler": {"name": "tpe", "seed": 0, "startup_trials": 4},
            "ladder": {
                "rungs": [3, 6],
                "reduction": 3,
                "race": {"first_block": 30, "alpha": 0.05},
            },
            "early_check": {
                "images": 120,
                "ce_steps": 10,
                "t_steps": 10,
                "targets": 3,
                "batch_size": 120,
                "seed": 0,
            },
            "diagnosis": DIAGNOSIS.model_dump(),
            "budget": {"trials": trials},
            "resources": {
                "concurrent_trials": 2,
                "min_workers": 1,
                "workers": 2,
                "cpus_per_worker": 1,
                "gpus_per_worker": 0,
                "worker_restarts": 2,
            },
            "checkpoints": {"minutes": 10, "keep": 2},
            "promotion": {"top_k": 1, "min_clean_accuracy": 0.2, "overrides": {"epochs": 30}},
            "reference": {"version": "standard", "images": 240, "batch_size": 60, "seed": 0},
        }
    )


def search_folder(root: Path, *, trials: int = 12) -> SearchFolder:
    """Returns the folder of a search that has begun: its config, and nothing else."""
    settings = experiment(root, trials=trials)
    folder = SearchFolder(root=root / settings.name)
    write_atomically(folder.config, yaml.safe_dump(settings.model_dump(mode="json")))
    return folder


def check(clean: int, robust: int, *, n: int = 120, attack: str = ATTACK) -> Check:
    """Returns a check of `n` images that took two seconds; its probe shows nothing bad."""
    return Check(
        clean=Accuracy(attack="clean", n=n, correct=clean),
        robust=Accuracy(attack=attack, n=n, correct=robust),
        probe=probe(pgd1=min(n, round(1.05 * robust)), pgd10=robust, n=n),
        seconds=2.0,
    )


def progress(epochs: int, *, top: float = 0.4, attack: str = ATTACK, seed: int = 0) -> Progress:
    """Returns a learning curve that rises to `top` of robust accuracy at epoch 12."""
    noise = random.Random(seed)
    history: list[EpochMetrics] = []
    for epoch in range(1, epochs + 1):
        robust = max(0.0, top * (1 - 0.75**epoch) + noise.gauss(0, 0.012))
        right = round(120 * robust)
        history.append(
            EpochMetrics(
                epoch=epoch,
                train_loss=2.4 - 2 * robust,
                train_accuracy=min(1.0, robust * 1.1),
                lr=0.002,
                eps=4 / 255,
                seconds=10.0,
                check=check(min(120, right + 30 + seed % 9), right, attack=attack)
                if epoch in RUNGS
                else None,
                raw_check=None,
            )
        )
    return Progress(
        params_m=0.5,
        gmacs=0.02,
        start="random weights",
        images="0" * 12,
        clean_seconds=0.0,
        first_step_at=1006.0,
        events=(),
        history=tuple(history),
    )


def record(
    number: int,
    *,
    status: Status = "completed",
    epochs: int = 12,
    top: float = 0.4,
    origin: str = "tpe",
    reason: str = "",
    params: dict[str, Any] | None = None,
    attack: str = ATTACK,
) -> TrialRecord:
    """Returns a trial that trained `epochs` epochs of ten seconds; 0 epochs: no first step yet."""
    sample = params or {
        "optim.lr": 0.001 * (number + 1),
        "attack.name": "pgd",
        "model.depths": [1, 1],
    }
    config = with_overrides(trial_config(), sample)
    return TrialRecord(
        key=f"t{number:05d}",
        number=number,
        origin=origin,
        params=sample,
        config=config,
        config_hash=config_hash(config),
        status=status,
        reason=reason,
        error="Traceback" if status == "failed" else "",
        sessions=1,
        node="node",
        started_at=1000.0,
        startup_s=6.0 + number if epochs else None,
        finished_at=None if status == "running" else 1200.0,
        progress=progress(epochs, top=top, attack=attack, seed=number) if epochs else None,
    )


def search_records() -> list[TrialRecord]:
    """Returns twelve trials: recipes, completed, stopped, a failed and a running one."""
    tops = [0.36, 0.42, 0.28, 0.45, 0.15, 0.38, 0.22, 0.31, 0.12, 0.40, 0.0, 0.35]
    kinds: list[tuple[Status, int]] = [
        ("completed", 12),
        ("completed", 12),
        ("completed", 12),
        ("completed", 12),
        ("stopped", 3),
        ("completed", 12),
        ("stopped", 3),
        ("stopped", 6),
        ("stopped", 3),
        ("completed", 12),
        ("failed", 0),
        ("running", 5),
    ]
    recipes = ("recipe:canonical", "recipe:light", "recipe:revisiting")
    reasons = {"stopped": "below the cut of its rung", "failed": "non-finite loss, step 3"}
    return [
        record(
            number,
            status=status,
            epochs=epochs,
            top=tops[number],
            origin=recipes[number] if number < 3 else "tpe",
            reason=reasons.get(status, ""),
            params={
                "optim.lr": round(0.0003 * (number + 1), 6),
                "attack.name": "apgd" if tops[number] > 0.33 else "pgd",
                "model.depths": [1, 1 + number % 2],
            },
        )
        for number, (status, epochs) in enumerate(kinds)
    ]


def full_run(key: str, *, origin: str = "tpe", seed: int = 7) -> FullRun:
    """Returns a finished full run of 30 epochs."""
    config = trial_config(epochs=30, seed=seed)
    return FullRun(
        key=key,
        study="photos",
        trial_number=None if key == "default" else int(key[1:]),
        origin="default" if key == "default" else origin,
        trial_config_hash=None if key == "default" else "0123456789ab",
        config=config,
        config_hash=config_hash(config),
        commit="abc1234",
        versions={"python": "3.12", "torch": "2.11", "pyautoattack": "0.2.0"},
        hardware="2 CPU cores",
        status="completed",
        reason="",
        progress=progress(12, top=0.45),
    )


def result(*, clean: int, robust: int, n: int = 240, first: int = 0) -> EvaluationResult:
    """Returns a result whose robust images are `robust` ones from index `first` on."""
    flags = tuple(first <= index < first + robust for index in range(n))
    return EvaluationResult.model_validate(
        {
            "schema_version": 2,
            "attack": "autoattack-standard",
            "attack_package": "pyautoattack 0.2.0",
            "attacks": version_attacks("standard", "linf", num_classes=12),
            "precision": "fp32",
            "threat": trial_config().threat,
            "split": "test",
            "data_hash": "da1ada1ada1a",
            "model_hash": "0de10de10de1",
            "config_hash": "c0ffeec0ffee",
            "seed": 0,
            "is_clean_correct": tuple(index < clean for index in range(n)),
            "is_robust": flags,
            "broken_by": {"apgd-ce": clean - robust - 4, "apgd-t": 3, "fab-t": 1, "square": 0},
            "largest_perturbation": 4 / 255,
        }
    )


def write_promoted(folder: SearchFolder, run: FullRun, outcome: EvaluationResult | None) -> Path:
    """Writes the folder of a full run, with eight example images if it was evaluated."""
    root = folder.promoted / run.key
    write_atomically(root / "record.json", run.model_dump_json())
    if outcome is not None:
        write_atomically(root / "result.json", outcome.model_dump_json())
        write_examples(root / "examples.npz")
    return root


def write_examples(path: Path, *, n: int = 8) -> None:
    """Writes `n` smooth images of 32 x 32 pixels; the last third was not broken."""
    noise = np.random.default_rng(0)
    base = noise.integers(40, 215, size=(n, 3, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    clean = base.astype(np.uint8)
    is_robust = np.arange(n) >= n - n // 3
    signs = noise.choice([-1.0, 1.0], size=clean.shape) * ~is_robust[:, None, None, None]
    labels = np.arange(n) % 12
    np.savez(
        path,
        clean=clean,
        adversarial=(clean / 255 + 4 / 255 * signs).astype(np.float32),
        labels=labels,
        clean_prediction=labels,
        adversarial_prediction=np.where(is_robust, labels, (labels + 5) % 12),
    )


def write_search(root: Path) -> SearchFolder:
    """Writes a search of twelve trials with two promoted runs, without its study."""
    folder = search_folder(root)
    for trial in search_records():
        write_record(folder.record(trial.key), trial)
    write_promoted(folder, full_run("t00003"), result(clean=150, robust=96))
    write_promoted(folder, full_run("default"), result(clean=140, robust=80, first=4))
    return folder
