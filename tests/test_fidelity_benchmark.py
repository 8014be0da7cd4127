"""What decides in `benchmarks.fidelity`, against SciPy and by hand."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmarks.early_check import DEMO, Flags, kendall_tau
from benchmarks.fidelity import bootstrap, checked, epochs_to, judged, lost_by_keeping
from benchmarks.fidelity_runs import Outcome, Outcomes, draw_configs, perform, plan
from search.config import ExperimentConfig
from search.load import load_experiment
from search.space.constraints import measure, violations


@pytest.fixture(scope="module")
def demo() -> ExperimentConfig:
    return load_experiment(Path(__file__).parents[1] / DEMO, {})


def flags(*, configs: int, images: int, seed: int) -> Flags:
    stream = np.random.default_rng(seed)
    return stream.random((configs, images)) < stream.random((configs, 1))


def test_tau_is_scipys_where_accuracies_tie() -> None:
    a, b = (flags(configs=12, images=8, seed=seed) for seed in (0, 1))
    counts = [table.sum(axis=1) for table in (a, b)]

    tau = kendall_tau(a, b)

    assert all(len(set(each.tolist())) < 12 for each in counts)
    assert tau == pytest.approx(scipy.stats.kendalltau(*counts)[0])


def test_a_rung_that_keeps_the_best_loses_nothing() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])

    assert lost_by_keeping(np.array([0.0, 3.0, 1.0, 2.0]), truth, keep=2) == 0


def test_a_rung_that_drops_the_best_loses_its_lead_over_the_best_that_stays() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])

    assert lost_by_keeping(np.array([1.0, 3.0, 2.0, 0.0]), truth, keep=2) == pytest.approx(0.1)


def test_who_ties_with_the_last_that_stays_stays_too() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4])

    assert lost_by_keeping(np.array([2.0, 1.0, 0.0, 1.0]), truth, keep=2) == 0


def test_only_training_anew_pays_for_the_rungs_below_again() -> None:
    spent = {kind: epochs_to(kind, 6, rungs=(3, 6)) for kind in ("asha", "anew", "continue")}

    assert spent == {"asha": 6, "anew": 9, "continue": 6}


def test_the_runs_of_a_ladder_begin_where_earlier_ones_ended_and_add_up_to_a_full_training() -> (
    None
):
    runs = {run.name: run for run in plan((3, 6), last=12)}

    chain = [runs["continue-12"]]
    while chain[-1].after:
        chain.append(runs[chain[-1].after])

    assert [run.name for run in chain] == ["continue-12", "continue-6", "anew-3"]
    assert sum(run.epochs for run in chain) == 12
    names = list(runs)
    assert all(names.index(run.after) < names.index(run.name) for run in chain[:-1])


def test_the_configs_are_the_warm_starts_and_other_samples_within_the_constraints(
    demo: ExperimentConfig,
) -> None:
    configs = draw_configs(demo, count=6, seed=0)

    assert [*configs][:3] == [*demo.warm_start]
    assert len({trial.model_dump_json() for trial in configs.values()}) == 6
    assert not any(violations(demo.constraints, measure(trial)) for trial in configs.values())


def test_the_same_draws_compare_two_rungs() -> None:
    truth = flags(configs=5, images=20, seed=0)
    rung = flags(configs=5, images=30, seed=1)

    first, second = (bootstrap(rung, truth, of_configs=True, draws=20) for _ in range(2))

    assert (first == second).all()


def test_resampled_images_scatter_less_than_resampled_configs_where_images_are_many() -> None:
    truth = flags(configs=6, images=500, seed=0)

    images, configs = (
        bootstrap(truth[:, ::-1], truth, of_configs=of_configs, draws=100)
        for of_configs in (False, True)
    )

    assert images.std() < configs.std()


def outcome(demo: ExperimentConfig, *, epochs: int, checks: dict[int, tuple[bool, ...]]) -> Outcome:
    trial = demo.base.model_copy(update={"epochs": epochs})
    return Outcome(trial=trial, seconds=0.0, checks=checks, truth=(True,))


def test_asha_reads_the_full_training_and_a_ladder_the_end_of_its_own_runs(
    demo: ExperimentConfig,
) -> None:
    no, yes = (False,), (True,)
    found: Outcomes = {
        "anew-12": [outcome(demo, epochs=12, checks={3: no, 6: yes, 12: no})],
        "anew-3": [outcome(demo, epochs=3, checks={3: yes})],
        "anew-6": [outcome(demo, epochs=6, checks={6: no})],
        "continue-6": [outcome(demo, epochs=3, checks={3: yes})],
    }

    shown = {
        (kind, epoch): bool(checked(found, kind, epoch, begin=3, last=12).item())
        for kind in ("asha", "anew", "continue")
        for epoch in (3, 6)
    }

    assert shown == {
        ("asha", 3): False,
        ("asha", 6): True,
        ("anew", 3): True,
        ("anew", 6): False,
        ("continue", 3): True,
        ("continue", 6): True,
    }
    assert judged(found, "anew-12").tolist() == [[True]]


def test_a_run_is_read_back_and_refused_for_another_config(
    demo: ExperimentConfig, tmp_path: Path
) -> None:
    run = plan((3, 6), last=12)[0]
    kept = outcome(demo, epochs=12, checks={12: (True,)})
    (tmp_path / f"{run.name}.json").write_text(kept.model_dump_json())

    assert perform(tmp_path, demo.base, run, demo.early_check) == kept
    other = demo.base.model_copy(update={"label_smoothing": 0.1})
    with pytest.raises(ValueError, match="of another config; give another --out, or remove it"):
        perform(tmp_path, other, run, demo.early_check)
