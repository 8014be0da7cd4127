"""Mistakes in the config of a search: one message each that names the field, and nothing begun."""

from pathlib import Path

import pytest
from repository import DEMO

from search.cli import main

LR = "space={optim.lr: {log_uniform: [1.0e-4, 1.0e-2]}}"
CMAES = "sampler={name: cmaes, seed: 0}"
PLAIN = [LR, "warm_start=[]", "constraints={}"]


def axis(text: str) -> list[str]:
    return [f"space={{{text}}}", "warm_start=[]", "constraints={}"]


# fmt: off
BAD: list[tuple[list[str], str]] = [
    # space
    (axis("optim.lr: {log_uniform: [0.1, 0.01]}"), "space.optim.lr: low must be less than high"),
    (axis("optim.lr: {log_uniform: [0, 0.01]}"), "log_uniform needs a low end above 0"),
    (axis("optim.lr: {loguniform: [0.1, 0.2]}"), "space.optim.lr: an axis is one of"),
    (axis("optim.lr: {uniform: [0.1, 0.2], int: [1, 2]}"), "space.optim.lr: an axis is one of"),
    (axis("optim.lrr: {uniform: [0.1, 0.2]}"), "did you mean 'optim.lr'"),
    (axis("augment.mixup: {choice: []}"), "space.augment.mixup"),
    (axis("attack.steps: {int: [0, 3]}"), "space.attack.steps"),
    (axis("label_smoothing: {uniform: [0.0, 1.5]}"), "space.label_smoothing"),
    (axis("seed: {int: [0, 9]}"), "space must not change seed"),
    (axis("threat.eps: {uniform: [0.01, 0.02]}"), "space must not change threat.eps"),
    (axis("epochs: {int: [1, 5]}"), "space must not change epochs"),
    (axis("data.resolution: {choice: [16, 32]}"), "space must not change data.resolution"),
    (axis("objective.beta: {uniform: [1, 6]}"), "space.objective.beta changes nothing"),
    (axis("optim.lr: {uniform: [0.1, 0.2], when: {augment.mixup: [0.8]}}"), "space.optim.lr.when"),
    (["space={}", "warm_start=[]"], "space"),
    ([LR, "warm_start=[canonicall]"], "did you mean 'canonical'"),
    ([LR, "warm_start=[{study: nowhere, top: 3}]", "constraints={}"], "no search at"),
    (["constraints={params_k: [1, 2]}"], "constraints"),
    (["constraints={params_m: [2, 1]}"], "low must be less than high"),
    (["constraints={params_m: {max: 0.0001}}"], "violates the constraints"),
    # strategy
    (["sampler={name: tpee, seed: 0}"], "sampler"),
    (["sampler={name: tpe, seed: 0, startup: 3}"], "sampler.startup: unknown field"),
    (["sampler={name: tpe, seed: 0, random_share: 2}"], "sampler.random_share"),
    ([CMAES], "sampler.name=cmaes needs the same axes"),
    ([*PLAIN, "objectives=[robust, gmacs]", CMAES], "one objective, got 2"),
    ([*PLAIN, "sampler={name: nsga3, seed: 0}"], "sampler.name=nsga3 spreads trials"),
    (["objectives=[robust, robust]"], "must differ from each other"),
    (["objectives=[robust, unseen]"], "early_check.unseen names no threat"),
    (["objectives=[accuracy]"], "objectives"),
    (["objectives=[]"], "objectives"),
    # ladder
    (["ladder.rungs=[6, 3]"], "must rise"),
    (["ladder.rungs=[3, 12]"], "must stay below base.epochs (12)"),
    (["ladder.rungs=[0, 3]"], "ladder.rungs"),
    (["ladder.reduction=1"], "ladder.reduction"),
    (["ladder.decide=halve"], "ladder.decide"),
    (["ladder.brackets=9"], "brackets (9) must be at most"),
    (["ladder.bracket_by=attack.steps"], "must be a branch axis of the space"),
    (["ladder.growth=true", "ladder.decide=stop"], "growth needs decide=promote"),
    (["ladder.grow={attack.steps: [1, 1]}", "ladder.kind=asha"], "grow needs kind=ladder"),
    (["ladder.kind=ladder", "ladder.grow={attack.steps: [1]}"], "a value for each of the 2 rungs"),
    (["ladder.kind=ladder", "ladder.grow={threat.eps: [0.1, 0.1]}"], "must not change threat.eps"),
    (
        [
            "ladder.kind=ladder",
            "ladder.grow={data.train_images: [96, 768]}",
            "space={batch_size: {choice: [64, 384]}}",
            "warm_start=[]",
        ],
        "train_images (96)",  # fits all images, but not those of the first rung
    ),
    (["ladder.kind=ladder", "ladder.grow={attack.stepz: [1, 1]}"], "did you mean 'attack.steps'"),
    # budget, storage, promotion
    (["budget={}"], "a search needs an end"),
    (["budget={trials: 0}"], "budget.trials"),
    (["budget={spend: 10}"], "spend and prices belong together"),
    (["budget={trails: 10}"], "did you mean 'budget.trials'"),
    (["storage=mongodb://host/db"], "storage must be"),
    (["storage=postgresql://host"], "storage must be"),
    (["promotion.rule=best"], "promotion.rule"),
    (["promotion.before=[{overrides: {epochs: 3}, keep: 1}]"], "less than the 1 that enter"),
    (["promotion.overrides={threat.eps: 0.1}"], "promotion.overrides must not change threat.eps"),
    (["promotion.seeds=0"], "promotion.seeds"),
    (["resources.min_workers=3"], "min_workers (3) must not exceed workers (1)"),
]
# fmt: on


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("overrides", "words"), BAD, ids=[" ".join(one)[:60] for one, _ in BAD])
def test_a_mistake_in_a_search_is_one_message_with_its_field(
    overrides: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(DEMO), *overrides]) == 2

    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("rampart: ")
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
