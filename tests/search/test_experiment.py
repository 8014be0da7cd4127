"""What the experiment file refuses, and with which words."""

from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from repository import DEMO

from search.errors import UserError
from search.load import dump_config, load_experiment, load_training
from search.overrides import with_overrides
from search.space.space import suggest

DATA = {
    "source": "photos",
    "resolution": 32,
    "train_images": 1536,
    "select_images": 240,
    "test_images": 240,
    "seed": 0,
}


def test_the_resolved_experiment_reads_back_equal(tmp_path: Path) -> None:
    experiment = load_experiment(DEMO, {"budget.trials": 4})
    (tmp_path / "x.yaml").write_text(dump_config(experiment))

    assert load_experiment(tmp_path / "x.yaml", {}) == experiment
    assert experiment.budget.trials == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"base.threat.eps": 4}, r"base\.threat: linf eps=4 exceeds .* did you mean '4/255'"),
        ({"base.threat.eps": "4/x"}, "a fraction such as '4/255', got '4/x'"),
        ({"base.optim.lrr": 1}, r"no field 'base\.optim\.lrr'; did you mean 'base\.optim\.lr'"),
        ({"base.optim.lr": "fast"}, r"base\.optim\.lr: .* \(got 'fast'\)"),
        ({"base.model.family": "vgg"}, r"base\.model: .*'vgg'.*'convnext', .*'timm'"),
        (
            {"base.model.family": "vit"},
            r"base\.model: stem_stride is a field of family convnext or resnet, not of 'vit'",
        ),
        ({"base.freeze": "first_0"}, r"base\.freeze: .* pattern .* \(got 'first_0'\)"),
        (
            {"base.weights.pretrained": True, "base.weights.clean_epochs": 2},
            "weights come from one source, got pretrained and clean_epochs; switch the others off",
        ),
        ({"base.model.widths": [24]}, "must name the same number of stages"),
        ({"base.batch_size": 4096}, r"must not exceed data\.train_images"),
        ({"name": "a/b"}, "name: "),
        ({"ladder.rungs": [6, 3]}, r"ladder: rungs \[6, 3\] must rise"),
        ({"ladder.rungs": [12]}, r"must stay below base\.epochs \(12\)"),
        ({"sampler.name": "random"}, "sampler.startup_trials: random has no such field"),
        ({"early_check.images": 241}, r"must not exceed data\.select_images \(240\)"),
        ({"reference.images": 999}, r"must not exceed data\.test_images \(240\)"),
        ({"base.batch_size": 2, "resources.workers": 3}, "of the 3 workers an image; raise it"),
        ({"resources.workers": 2, "base.compute.sync_bn": True}, "sync_bn needs GPU workers"),
        ({"base.attack.fraction": 0.005}, r"attack\.fraction \(0\.005\) of the 64 images .* none"),
        ({"base.compute.accumulation": 65}, r"fewer than the compute\.accumulation \(65\) parts"),
        ({"warm_start": ["madry"]}, "no recipe 'madry'"),
        ({"base.optim.lr": float("inf")}, r"base\.optim\.lr: Input should be a finite number"),
        ({"promotion.overrides": {"data.test_images": 120}}, r"reference\.images \(240\)"),
        ({"promotion.overrides": {"batch_size": 63}}, "promotion.overrides: with the sample"),
        ({"promotion.overrides": {"data.seed": 1}}, "must not change data.seed"),
        ({"promotion.overrides": {"epoch": 3}}, "did you mean 'epochs'"),
    ],
)
def test_a_broken_rule_names_field_value_and_way_out(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_experiment(DEMO, overrides)


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"attack.steps": {"int": [0, 3]}}, r"space\.attack\.steps: the value 0 is invalid"),
        ({"eps_schedule.ramp": {"uniform": [0.1, 1.5]}}, "the value 1.5 is invalid"),
        ({"model.stem": {"choice": ["patch", "foo"]}}, "the value 'foo' is invalid"),
        ({"threat.eps": {"uniform": [0.001, 0.016]}}, "space must not change threat.eps"),
        ({"epochs": {"int": [6, 12]}}, "space must not change epochs"),
        ({"attack.also": {"choice": [[], []]}}, "space must not change attack.also"),
        (
            {"data": {"choice": [{**DATA, "select_images": 252}]}},
            r"space\.data: the value .* changes data\.select_images, which is set in base",
        ),
        (
            {"attack.reach": {"uniform": [1.0, 2.0]}},
            r"attack\.reach changes nothing: .* attack\.name is one of \['fgsm', 'pgd'\], and",
        ),
        ({"model.stm": {"choice": ["patch"]}}, "did you mean 'model.stem'"),
        ({"attack.steps": {"range": [1, 3]}}, r"space\.attack\.steps: an axis is one of"),
        (
            {"optim.weight_decay": {"log_uniform": [0.01, 0.2]}},
            r"recipe 'light' has optim\.weight_decay = 0\.5, .* widen the axis",
        ),
        (
            {"batch_size": {"choice": [64, 63]}, "augment.mixup": {"choice": [0.0, 0.8]}},
            "the combination .* must be even",
        ),
    ],
)
def test_a_space_that_could_sample_an_invalid_trial_is_refused(axis: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_experiment(DEMO, {"space": axis})


def test_an_axis_may_choose_a_whole_section() -> None:
    attack = load_experiment(DEMO, {}).base.attack.model_dump(mode="json")
    fgsm = {**attack, "name": "fgsm", "steps": 1, "noise": 1.0, "reach": 1.25}
    overrides = {"space": {"attack": {"choice": [attack, fgsm]}}, "warm_start": []}

    experiment = load_experiment(DEMO, overrides)

    study = optuna.create_study()
    samples = [suggest(study.ask(), experiment.space) for _ in range(10)]
    names = {with_overrides(experiment.base, sample).attack.name for sample in samples}
    assert names == {"apgd", "fgsm"}


def test_an_axis_and_a_nested_override_have_dotted_paths() -> None:
    overrides = {
        "space.attack.steps": {"choice": [1, 2]},
        "promotion.overrides.data.train_images": 1536,
    }

    experiment = load_experiment(DEMO, overrides)

    assert experiment.space["attack.steps"].model_dump() == {"choice": (1, 2)}
    assert experiment.promotion.overrides == {"epochs": 12, "data.train_images": 1536}


def test_an_unknown_key_in_the_file_is_refused(tmp_path: Path) -> None:
    tree = yaml.safe_load(DEMO.read_text())
    tree["base"]["optim"]["learning_rate"] = 1
    del tree["sampler"]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(tree))

    with pytest.raises(UserError, match=r"base\.optim\.learning_rate: unknown field") as caught:
        load_experiment(tmp_path / "x.yaml", {})
    assert "sampler: required, but missing" in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)

    with pytest.raises(UserError, match=r"x\.yaml (must be a mapping|is not YAML)"):
        load_experiment(tmp_path / "x.yaml", {})


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"cannot read the experiment nowhere\.yaml: No such file"):
        load_experiment(Path("nowhere.yaml"), {})


def test_every_config_in_the_repository_states_its_command_and_sources() -> None:
    for path in DEMO.parent.glob("*.yaml"):
        head = path.read_text().split("name:")[0]
        assert "Command:" in head, path
        assert "Sources:" in head, path
        is_run = "rampart train" in head
        assert load_training(path, {}) if is_run else load_experiment(path, {})
