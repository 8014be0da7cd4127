"""What a search finds on the embedded task: `python -m benchmarks.photos_search`.

Two searches over the demo's space, for several seeds, at equal compute: ours (its sampler and its
ladder) with 40 trials, and random search, which trains every trial to the end, until it has trained
as many epochs. Each promotes its best trial; that and the untuned default train at full length with
the same seeds and are attacked by the reference AutoAttack on the same test images. Bars (issue 7):
the promoted config beats the default by more than 2 SE, and the median of ours over the seeds is no
worse than random search's. Goes on where it was killed: everything lies in `--out`.
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.local_search import run_locally
from evaluation.paired import compare_paired
from evaluation.result import EvaluationResult
from search.books.records import read_records
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.load import load_experiment
from search.overrides import with_overrides
from search.promotion.choice import cost_among, select_for_promotion
from trainers.atomic import write_atomically
from trainers.config import TrialConfig, config_hash

DEMO = Path("search/configs/demo.yaml")
STRATEGIES: dict[str, dict[str, Any]] = {
    "rampart": {},
    "random": {"sampler": {"name": "random", "seed": 0}, "ladder.decide": "none"},
}
"""What each changes in the demo, beside its seed and budget."""


def experiment(strategy: str, *, seed: int, trials: int, epochs: int | None) -> ExperimentConfig:
    """Returns a search of the demo's space by a strategy.

    Args:
        epochs: That all trials may train together; None: as many as `trials` take.
    """
    changes = {**STRATEGIES[strategy], "warm_start": []}
    config = load_experiment(DEMO, changes)
    budget = trials if epochs is None else max(1, round(epochs / config.base.epochs))
    return with_overrides(
        config, {"sampler.seed": seed, "budget": {"trials": budget}, "name": f"{strategy}-{seed}"}
    )


def run_search(
    out: Path, strategy: str, *, seed: int, trials: int, epochs: int | None, workers: int
) -> tuple[TrialConfig, int]:
    """Returns the config that a search promotes, before the full run's overrides, and the epochs
    that its trials trained."""
    config = experiment(strategy, seed=seed, trials=trials, epochs=epochs)
    folder = SearchFolder(root=out / "searches" / config.name)
    run_locally(folder, config, workers=workers)
    records = read_records(folder.trials)
    chosen = select_for_promotion(
        records, config.promotion, cost=cost_among(config.objectives)
    ).records[0]
    return chosen.config, sum(_trained(config, record.epochs) for record in records)


def _trained(config: ExperimentConfig, epochs: int) -> int:
    """Returns the epochs that a trial trained which got to `epochs`, over all its rungs."""
    ladder = config.ladder
    if ladder.kind == "asha" or ladder.survivors == "continue":
        return epochs
    return sum(rung for rung in (*ladder.rungs, config.base.epochs) if rung <= epochs)


def full_run(folder: Path, config: TrialConfig, reference: dict[str, Any]) -> None:
    """Trains a config and attacks it by the reference, unless that was done; in its own process."""
    import torch

    from evaluation.config import ReferenceConfig
    from evaluation.evaluate import evaluate_checkpoint
    from trainers.config import CheckpointsConfig
    from trainers.data.load import load_train
    from trainers.group import alone
    from trainers.run import Place, run_trial

    if (folder / "result.json").exists():
        return
    torch.set_num_threads(1)
    run_trial(
        config,
        Place(
            checkpoints=folder / "checkpoint",
            clean_starts=folder / "clean",
            manifests=folder / "manifests",
        ),
        load=load_train,
        group=alone(torch.device("cpu")),
        checkpoints=CheckpointsConfig(minutes=10, keep=2),
        clean_recipe=config,
        rungs=(),
        evaluate=_no_check,
        must_stop=lambda: False,
        report=lambda _: None,
    )
    evaluate_checkpoint(
        folder / "checkpoint",
        ReferenceConfig.model_validate(reference),
        folder,
        device=torch.device("cpu"),
        on_batch=lambda done, total: None,
    )


def _no_check(model: object, epoch: int | None) -> Any:
    """Full runs are judged by the reference alone."""
    from trainers.metrics import Accuracy, Check

    del model, epoch
    nothing = Accuracy(attack="none", n=1, correct=0)
    return Check(clean=nothing, robust=nothing, seconds=0.0)


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("/tmp/photos_search"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    out: Path = arguments.out.absolute()
    runs: dict[str, TrialConfig] = {}
    rows: list[dict[str, Any]] = []
    promotion = load_experiment(DEMO, {})
    for seed in range(arguments.seeds):
        epochs: int | None = None
        for strategy in STRATEGIES:
            config, epochs = run_search(
                out,
                strategy,
                seed=seed,
                trials=arguments.trials,
                epochs=epochs,
                workers=arguments.workers,
            )
            rows.append({"strategy": strategy, "seed": seed, "epochs": epochs})
            runs[f"{strategy}-{seed}"] = _full(promotion, config, seed)
        runs[f"default-{seed}"] = _full(promotion, promotion.base, seed)
    _run_all(out, runs, promotion.reference.model_dump(mode="json"), arguments.workers)
    results = {name: _result(out, name, config) for name, config in runs.items()}
    write_atomically(out / "rows.json", json.dumps(rows, indent=1))
    _print(rows, results, seeds=arguments.seeds)


def _full(promotion: ExperimentConfig, config: TrialConfig, seed: int) -> TrialConfig:
    return with_overrides(config, {**promotion.promotion.overrides, "seed": seed})


def _folder(out: Path, name: str, config: TrialConfig) -> Path:
    return out / "full" / f"{name}-{config_hash(config)}"


def _run_all(
    out: Path, runs: dict[str, TrialConfig], reference: dict[str, Any], workers: int
) -> None:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(full_run, _folder(out, name, config), config, reference)
            for name, config in runs.items()
        ]
        for job in jobs:
            job.result()


def _result(out: Path, name: str, config: TrialConfig) -> EvaluationResult:
    path = _folder(out, name, config) / "result.json"
    return EvaluationResult.model_validate_json(path.read_text())


def _print(rows: list[dict[str, Any]], results: dict[str, EvaluationResult], *, seeds: int) -> None:
    console = Console()
    table = Table(box=None, header_style="bold")
    for column in ("search", "seed", "epochs", "clean", "robust", "default", "gain +- SE"):
        table.add_column(column, justify="right")
    robust: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    for row in rows:
        strategy, seed = row["strategy"], row["seed"]
        found, default = results[f"{strategy}-{seed}"], results[f"default-{seed}"]
        n = len(found.is_robust)
        gain = compare_paired(found.is_robust, default.is_robust)
        flags = zip(found.is_robust, default.is_robust, strict=True)
        error = statistics.stdev(int(a) - int(b) for a, b in flags) / n**0.5
        robust[strategy].append(sum(found.is_robust) / n)
        table.add_row(
            strategy,
            str(seed),
            str(row["epochs"]),
            f"{100 * sum(found.is_clean_correct) / n:.1f}",
            f"{100 * robust[strategy][-1]:.1f}",
            f"{100 * sum(default.is_robust) / n:.1f}",
            f"{100 * gain.difference:+.1f} +- {100 * error:.1f}",
        )
    console.print(table)
    for strategy, values in robust.items():
        console.print(
            f"{strategy}: median robust accuracy of the promoted "
            f"{100 * statistics.median(values):.1f} % over {seeds} seeds (AutoAttack, "
            f"n={len(results['default-0'].is_robust)})"
        )


if __name__ == "__main__":
    main()
