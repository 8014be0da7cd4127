"""Shards of an evaluation: however many, and however often killed, the files are the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from base_trial import base_trial
from tiny_task import CPU

from evaluation.config import EvaluationConfig
from evaluation.engine.journal import read_journals
from evaluation.engine.stages import EvaluationAttack, stages_of
from evaluation.finish import finish, read_finished
from evaluation.progress import ROBUST
from evaluation.progress_estimate import estimate
from evaluation.result import EvaluationResult
from evaluation.shard import ShardPayload, identity_of, run_shard
from evaluation.task import load_task
from evaluation.verify import margins_of, perturbation_norms
from trainers.checkpoint import save_checkpoint
from trainers.config import TrialConfig
from trainers.data.load import load_train
from trainers.group import alone
from trainers.loop import fit

IMAGES = 48
ATTACKS = (
    EvaluationAttack(name="apgd-ce", steps=2, restarts=2, targets=0, passes=1, shrinks=False),
    EvaluationAttack(name="apgd-t", steps=20, restarts=1, targets=3, passes=1, shrinks=False),
    EvaluationAttack(name="fab-t", steps=10, restarts=1, targets=3, passes=1, shrinks=False),
    EvaluationAttack(name="square", steps=100, restarts=1, targets=0, passes=1, shrinks=False),
)
FILES = ("result.json", "images.parquet", "examples.npz")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that has learnt a little of the embedded task."""
    trial = TrialConfig.model_validate(
        base_trial(
            data={"train_images": 480, "test_images": IMAGES},
            threat={"eps": "8/255"},
            optim={"lr": 0.01},
            epochs=4,
        )
    )
    images = load_train(trial)
    states = fit(
        trial,
        images=images,
        rungs=(),
        evaluate=None,
        group=alone(CPU),
        resume=None,
        start=None,
    )
    *_, last = states
    return save_checkpoint(tmp_path_factory.mktemp("model"), last)


def config_with(**changes: object) -> EvaluationConfig:
    fields = {
        "protocol": "trained",
        "images": IMAGES,
        "resolution": 16,
        "version": "custom",
        "attacks": ATTACKS,
        "batch_size": 8,
        "precision": "fp32",
        "compile": False,
        "seed": 0,
    }
    return EvaluationConfig.model_validate(fields | changes)


def payload(
    checkpoint: Path, state: Path, *, shard: int, shards: int, config: EvaluationConfig
) -> ShardPayload:
    return ShardPayload(
        checkpoint=str(checkpoint),
        config=config,
        data="",
        identity=identity_of(
            load_task(checkpoint, config, data="", threads=1), config, device="cpu"
        ),
        state=str(state),
        shard=shard,
        shards=shards,
        device="cpu",
        threads=1,
    )


def evaluate(
    checkpoint: Path, out: Path, *, shards: int, config: EvaluationConfig | None = None
) -> EvaluationResult:
    chosen, state = config or config_with(), out / "state"
    threads = torch.get_num_threads()
    try:
        for shard in range(shards):
            one = payload(checkpoint, state, shard=shard, shards=shards, config=chosen)
            run_shard(one, lambda: None)
    finally:
        torch.set_num_threads(threads)
    task = load_task(checkpoint, chosen, data="", threads=1)
    return finish(task, chosen, state=state, out=out, device=CPU)


@pytest.fixture(scope="module")
def whole(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one shard."""
    out = tmp_path_factory.mktemp("whole")
    evaluate(checkpoint, out, shards=1)
    return out


@pytest.mark.parametrize("shards", [2, 5])
def test_files_do_not_depend_on_the_number_of_shards(
    checkpoint: Path, whole: Path, tmp_path: Path, shards: int
) -> None:
    evaluate(checkpoint, tmp_path, shards=shards)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (tmp_path / "state").exists()


def test_files_do_not_depend_on_the_batch_size(
    checkpoint: Path, whole: Path, tmp_path: Path
) -> None:
    evaluate(checkpoint, tmp_path, shards=1, config=config_with(batch_size=11))

    assert (tmp_path / "result.json").read_bytes() == (whole / "result.json").read_bytes()


def test_table_and_result_tell_the_same(whole: Path) -> None:
    result = EvaluationResult.model_validate_json((whole / "result.json").read_bytes())
    table = pd.read_parquet(whole / "images.parquet")

    assert (table["outcome"] == ROBUST).tolist() == list(result.is_robust)
    counts = table["outcome"].value_counts()
    assert all(counts.get(name, 0) == count for name, count in result.broken_by.items())
    assert sum(result.broken_by.values()) == result.clean.correct - result.robust.correct > 5
    assert 0 < result.robust.correct < result.clean.correct
    assert result.largest_perturbation == table["norm"].max() <= 8 / 255 * 1.0001
    assert result.robust_interval == pytest.approx(result.robust.interval)


def test_examples_are_the_first_broken_images_measured_anew(checkpoint: Path, whole: Path) -> None:
    table = pd.read_parquet(whole / "images.parquet")
    task = load_task(checkpoint, config_with(), data="", threads=1)
    with np.load(whole / "examples.npz") as file:
        examples = {name: torch.from_numpy(file[name]) for name in file}

    broken = table[table["iteration"] >= 0][: len(examples["index"])]
    rows = len(broken)
    x_adv, y = examples["adversarial"][:rows], examples["labels"][:rows]
    norms = perturbation_norms(x_adv - examples["clean"][:rows].float() / 255, task.threat)
    assert examples["index"][:rows].tolist() == broken["image"].tolist()
    assert norms.tolist() == pytest.approx(broken["norm"].tolist(), rel=1e-5)
    with torch.no_grad():
        margins = margins_of(task.model(x_adv), y)
    assert margins.tolist() == pytest.approx(broken["margin"].tolist(), abs=1e-5)


def test_a_finished_result_is_read_and_one_of_another_seed_refused(
    checkpoint: Path, whole: Path
) -> None:
    task = load_task(checkpoint, config_with(), data="", threads=1)

    again = read_finished(task, config_with(), out=whole, device="cpu")

    assert again is not None
    assert again.robust.n == IMAGES
    with pytest.raises(ValueError, match="belongs to another evaluation: seed is 0 there"):
        read_finished(task, config_with(seed=1), out=whole, device="cpu")


def test_journals_of_another_evaluation_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    first = config_with(images=12, attacks=ATTACKS[:1])
    run_shard(payload(checkpoint, tmp_path, shard=0, shards=1, config=first), lambda: None)

    other = payload(
        checkpoint,
        tmp_path,
        shard=0,
        shards=1,
        config=config_with(images=12, attacks=ATTACKS[:2]),
    )
    with pytest.raises(ValueError, match="belongs to another evaluation: attacks is"):
        run_shard(other, lambda: None)


def test_a_line_that_a_kill_cut_short_is_done_again(
    checkpoint: Path, whole: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    one = payload(checkpoint, state, shard=0, shards=1, config=config_with())
    run_shard(one, lambda: None)
    (journal,) = state.glob("*.jsonl")
    text = journal.read_bytes()
    journal.write_bytes(text[: len(text) * 2 // 3])

    evaluate(checkpoint, tmp_path, shards=3)

    for name in FILES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


def test_estimate_falls_to_nothing(checkpoint: Path, tmp_path: Path) -> None:
    config, stages = config_with(images=12), stages_of(ATTACKS)
    remaining: list[float] = []

    def look() -> None:
        now = estimate(read_journals(tmp_path), stages, images=12)
        remaining.append(now.remaining)

    run_shard(payload(checkpoint, tmp_path, shard=0, shards=1, config=config), look)

    last = estimate(read_journals(tmp_path), stages, images=12)
    assert remaining == sorted(remaining, reverse=True)
    assert (last.remaining, last.share, last.decided) == (0, 1.0, 12)


CHILD = """
import sys
from evaluation.shard import ShardPayload, identity_of, run_shard
run_shard(ShardPayload.model_validate_json(sys.argv[1]), lambda: print("line", flush=True))
"""


@pytest.mark.slow
def test_killed_five_times_the_files_are_the_same(
    checkpoint: Path, whole: Path, tmp_path: Path
) -> None:
    draw, state = random.Random(5), tmp_path / "state"
    one = payload(checkpoint, state, shard=0, shards=1, config=config_with())
    kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CHILD, one.model_dump_json()],
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        limit = draw.randrange(5, 25) if kills < 5 else 10**9
        for lines, _ in enumerate(process.stdout, start=1):
            if lines == limit:
                time.sleep(draw.random() * 0.05)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        if process.wait() == 0:
            break

    written = [
        (line["outcome"]["image"], line["outcome"]["stage"])
        for journal in state.glob("*.jsonl")
        for line in map(json.loads, journal.read_bytes().rpartition(b"\n")[0].splitlines())
        if "outcome" in line
    ]
    evaluate(checkpoint, tmp_path, shards=1)
    assert kills == 5
    assert len(written) == len(set(written))  # what was whole was not done again
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
