"""Which rungs foretell a full training: `OMP_NUM_THREADS=1 python -m benchmarks.fidelity`.

Trains twelve configs of the demo's space in full: its warm starts, and random samples that keep its
constraints. What they reach on test images under an attack stronger than the check is the truth.
Then compares how the demo's check ranks them at the demo's rungs, on images of the select split:

- asha: in the middle of that same full training;
- anew: after a complete short schedule, from random weights;
- continue: after a complete schedule of the epochs since the rung below, from its scored weights.

The truth of another seed says how much asha gains because its rungs are the judged training itself.
Each run is kept under `--out`, so a killed benchmark goes on. Bar (issue 7): Kendall's tau-b of
both kinds with intervals over images and over configs; the better becomes the default.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.early_check import DEMO, Flags, kendall_tau
from benchmarks.fidelity_runs import (
    TEST_IMAGES,
    Outcomes,
    draw_configs,
    perform_all,
    plan,
    truth_attack,
)
from evaluation.early import attack_name
from search.load import load_experiment

CONFIGS = 12
SAMPLE_SEED = 0
DRAWS_SEED = 0
KINDS = ("asha", "anew", "continue")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Where a kind of ladder ranks the configs."""

    kind: str
    epoch: int
    share: float
    """Of a full training's epochs that a config has cost by then."""
    is_robust: Flags


def rungs_of(found: Outcomes, epochs: Sequence[int], *, last: int) -> list[Rung]:
    """Returns the rungs of all kinds of ladder."""
    return [
        Rung(
            kind=kind,
            epoch=epoch,
            share=epochs_to(kind, epoch, rungs=epochs) / last,
            is_robust=checked(found, kind, epoch, begin=epochs[0], last=last),
        )
        for kind in KINDS
        for epoch in epochs
    ]


def epochs_to(kind: str, epoch: int, *, rungs: Sequence[int]) -> int:
    """Returns the epochs that a config has trained when the rung at `epoch` judges it."""
    return sum(rung for rung in rungs if rung <= epoch) if kind == "anew" else epoch


def checked(found: Outcomes, kind: str, epoch: int, *, begin: int, last: int) -> Flags:
    """Returns what survives the check at a rung; `begin` is the lowest rung, `last` no rung."""
    if kind == "asha":
        return np.array([each.checks[epoch] for each in found[f"anew-{last}"]])
    run = f"{'anew' if epoch == begin else kind}-{epoch}"
    return np.array([each.checks[each.trial.epochs] for each in found[run]])


def judged(found: Outcomes, run: str) -> Flags:
    """Returns what survives the strong attack at the end of a run."""
    return np.array([each.truth for each in found[run]])


def lost_by_keeping(scores: Floats, truth: Floats, *, keep: int) -> float:
    """Returns what the best of those that a rung keeps lacks to the best of all.

    Args:
        keep: How many stay; whoever ties with the last of them stays too.
    """
    kept = scores >= np.sort(scores)[-keep]
    return float(truth.max() - truth[kept].max())


def bootstrap(rung: Flags, truth: Flags, *, of_configs: bool, draws: int) -> Floats:
    """Returns tau-b of resamples of the images of both splits, and of the configs if asked.

    It draws the same for every rung, so that two are compared by the differences of their taus.
    """
    stream, taus = np.random.default_rng(DRAWS_SEED), np.empty(draws)
    for i in range(draws):
        shown, true = (_resample_images(table, stream) for table in (rung, truth))
        drawn = stream.integers(len(rung), size=len(rung)) if of_configs else slice(None)
        taus[i] = kendall_tau(shown[drawn], true[drawn])
    return taus


def _resample_images(table: Flags, stream: np.random.Generator) -> Flags:
    images = table.shape[1]
    return table[:, stream.integers(images, size=images)]


def table_of_configs(
    names: Iterable[str], rungs: Sequence[Rung], truths: Mapping[str, Flags]
) -> Table:
    """Returns the robust accuracy of each config at each rung and in the end."""
    columns = {f"{rung.kind} {rung.epoch}": rung.is_robust for rung in rungs} | dict(truths)
    table = Table("config")
    for header in columns:
        table.add_column(header, justify="right")
    for i, name in enumerate(names):
        table.add_row(name, *(f"{flags[i].mean():.2%}" for flags in columns.values()))
    return table


def table_of_rungs(rungs: Sequence[Rung], truth: Flags, other_seed: Flags, *, draws: int) -> Table:
    """Returns how each rung ranks, and what following it costs the best config, in points."""
    table = Table()
    for header in ("kind", "rung", "epochs", "tau-b", "images", "and configs", "other seed"):
        table.add_column(header)
    for header in ("best 1/2", "best 1/4"):
        table.add_column(header, justify="right")
    for rung in rungs:
        losses = (
            lost_by_keeping(rung.is_robust.sum(axis=1), truth.mean(axis=1), keep=len(truth) // part)
            for part in (2, 4)
        )
        table.add_row(
            rung.kind,
            str(rung.epoch),
            f"{rung.share:.0%}",
            f"{kendall_tau(rung.is_robust, truth):.3f}",
            interval(bootstrap(rung.is_robust, truth, of_configs=False, draws=draws)),
            interval(bootstrap(rung.is_robust, truth, of_configs=True, draws=draws)),
            f"{kendall_tau(rung.is_robust, other_seed):.3f}",
            *(f"{100 * loss:.2f}" for loss in losses),
        )
    return table


def differences(rungs: Sequence[Rung], truths: Mapping[str, Flags], *, draws: int) -> Iterator[str]:
    """Yields what each rung of a ladder gains in tau-b over asha's at the same epoch."""
    asha = {rung.epoch: rung.is_robust for rung in rungs if rung.kind == "asha"}
    for name, truth in truths.items():
        for rung in rungs:
            if rung.kind == "asha":
                continue
            pair = (rung.is_robust, asha[rung.epoch])
            gain = kendall_tau(pair[0], truth) - kendall_tau(pair[1], truth)
            ours, theirs = (bootstrap(each, truth, of_configs=True, draws=draws) for each in pair)
            yield (
                f"{rung.kind} {rung.epoch} over asha, truth {name}: {gain:+.3f} "
                f"{interval(ours - theirs)}"
            )


def interval(values: Floats) -> str:
    """Returns the 95 % percentile interval, as text."""
    low, high = np.quantile(values, (0.025, 0.975))
    return f"[{low:.2f}, {high:.2f}]"


def ends(found: Outcomes, *, last: int) -> Iterator[str]:
    """Yields how the ends of the runs compare: the check's, another seed's, the ladder's."""
    full = judged(found, f"anew-{last}")
    check = checked(found, "asha", last, begin=0, last=last)
    yield f"check after {last} epochs: tau-b {kendall_tau(check, full):.3f}"
    for run in (f"again-{last}", f"continue-{last}"):
        other = judged(found, run)
        gain = other.mean(axis=1) - full.mean(axis=1)
        yield (
            f"{run}: tau-b {kendall_tau(other, full):.3f}, robust {100 * gain.mean():+.2f} points "
            f"(mean of configs, standard error {100 * gain.std(ddof=1) / len(gain) ** 0.5:.2f})"
        )
    for run, outcomes in found.items():
        yield f"{run}: {sum(each.seconds for each in outcomes):.0f} CPU seconds"


def main() -> None:
    """Trains and attacks what is not yet there, then prints how well each rung foretells."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/fidelity"), help="kept between calls"
    )
    parser.add_argument("--draws", type=int, default=2000, help="of the bootstrap")
    options = parser.parse_args()
    demo = load_experiment(DEMO, {"base.data.test_images": TEST_IMAGES})
    epochs, last = demo.ladder.rungs, demo.base.epochs
    configs = draw_configs(demo, count=CONFIGS, seed=SAMPLE_SEED)
    found = perform_all(options.out.absolute(), configs, plan(epochs, last=last), demo.early_check)
    rungs = rungs_of(found, epochs, last=last)
    truths = {run: judged(found, f"{run}-{last}") for run in ("anew", "again")}
    console = Console(width=120)
    attacks = (demo.early_check, truth_attack(demo.early_check))
    console.print(" against ".join(attack_name(attack) for attack in attacks))
    console.print(table_of_configs(configs, rungs, truths))
    console.print(table_of_rungs(rungs, *truths.values(), draws=options.draws))
    for line in (*differences(rungs, truths, draws=options.draws), *ends(found, last=last)):
        console.print(line)


if __name__ == "__main__":
    main()
