"""W&B and MLflow hear each epoch once, from however many sessions."""

import sys
from pathlib import Path

import pytest
from diagnosis_factory import DIAGNOSIS
from logged_run import log_all, trained
from records_factory import trial_config
from tracker_fakes import Mlflow, Wandb

from search.live.log_targets import LogTarget, numbers, require_installed
from search.live.run_logs import run_logs


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    """W&B, as if it were installed."""
    fake = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    """MLflow, as if it were installed."""
    fake = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def test_the_name_of_an_accuracy_says_its_attack_and_its_n() -> None:
    named = numbers(trained(3).history[-1])

    assert named["raw_robust_accuracy/apgd_ce10+apgd_t3x10/n120"] == 20 / 120
    assert {name for name in named if "accuracy/" in name} == {
        "clean_accuracy/clean/n120",
        "robust_accuracy/apgd_ce10+apgd_t3x10/n120",
        "robust_accuracy/pgd1/n120",
        "robust_accuracy/pgd10/n120",
        "raw_robust_accuracy/pgd1/n120",
        "raw_robust_accuracy/pgd10/n120",
        "raw_clean_accuracy/clean/n120",
        "raw_robust_accuracy/apgd_ce10+apgd_t3x10/n120",
    }


@pytest.mark.parametrize("target", ["wandb", "mlflow"])
def test_a_target_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: LogTarget
) -> None:
    (tmp_path / target).mkdir()  # as W&B leaves it where it is started
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, target, raising=False)

    require_installed(["tensorboard"])
    with pytest.raises(
        ValueError,
        match=f"log_to names {target}, which is not installed: pip install {target}, or leave it",
    ):
        require_installed(["tensorboard", target])


def test_a_target_that_is_installed_is_not_imported_before_its_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wandb.py").write_text("raise RuntimeError")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)

    require_installed(["wandb"])


def test_wandb_goes_on_with_the_run_of_the_folder_and_hears_each_epoch_once(
    tmp_path: Path, wandb: Wandb
) -> None:
    log_all(tmp_path, trained(2), trained(5), trained(3), log_to=["wandb"])
    log_all(tmp_path, trained(4), trained(7, repeated_from=4), log_to=["wandb"])

    (run,) = wandb.runs.values()
    assert list(run.rows) == [1, 2, 3, 4, 5, 6, 7]
    assert run.rows[3] == numbers(trained(3).history[-1])
    assert run.exit_codes == [0, 0]
    for options in wandb.options:
        assert (options["project"], options["name"], options["resume"]) == (
            "rampart",
            "photos",
            "allow",
        )
        assert options["config"] == trial_config().model_dump(mode="json")


def test_another_folder_is_another_run_of_a_service(tmp_path: Path, wandb: Wandb) -> None:
    log_all(tmp_path / "first", trained(3), log_to=["wandb"])
    log_all(tmp_path / "second", trained(1), log_to=["wandb"])

    assert [list(run.rows) for run in wandb.runs.values()] == [[1, 2, 3], [1]]


def test_what_wandb_refuses_at_the_start_is_told(tmp_path: Path, wandb: Wandb) -> None:
    wandb.refuses = True

    with pytest.raises(ValueError, match=r"names wandb, which refuses: No API key.*WANDB_MODE"):
        log_all(tmp_path, log_to=["wandb"])


def test_mlflow_finds_the_run_again_and_hears_each_epoch_once(
    tmp_path: Path, mlflow: Mlflow
) -> None:
    log_all(tmp_path, trained(2), trained(5), trained(3), log_to=["mlflow"])
    log_all(tmp_path, trained(4), trained(7, repeated_from=4), log_to=["mlflow"])

    (key,) = mlflow.tags
    assert [p.step for p in mlflow.get_metric_history(key, "train_loss")] == [1, 2, 3, 4, 5, 6, 7]
    robust = mlflow.get_metric_history(key, "robust_accuracy/apgd_ce10-apgd_t3x10/n120")
    assert [point.step for point in robust] == [3, 6]
    assert mlflow.params[key]["model.depths"] == "[1, 1]"
    assert mlflow.status[key] == "FINISHED"
    assert mlflow.experiments == ["rampart"]


def test_a_run_that_raises_has_failed_in_the_services(
    tmp_path: Path, wandb: Wandb, mlflow: Mlflow
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        run_logs(
            trial_config(), tmp_path, name="photos", diagnosis=DIAGNOSIS, log_to=["wandb", "mlflow"]
        ),
    ):
        raise KeyboardInterrupt

    assert list(mlflow.status.values()) == ["FAILED"]
    assert [run.exit_codes for run in wandb.runs.values()] == [[1]]


def test_what_mlflow_refuses_at_the_start_is_told(tmp_path: Path, mlflow: Mlflow) -> None:
    mlflow.is_out_of_reach = True

    with pytest.raises(ValueError, match=r"names mlflow, which refuses: API.*MLFLOW_TRACKING_URI"):
        log_all(tmp_path, log_to=["mlflow"])


def test_an_outage_of_mlflow_is_warned_of_and_made_up_for(
    tmp_path: Path, mlflow: Mlflow, caplog: pytest.LogCaptureFixture
) -> None:
    with run_logs(
        trial_config(), tmp_path, name="photos", diagnosis=DIAGNOSIS, log_to=["mlflow"]
    ) as log:
        log(trained(2))
        mlflow.is_out_of_reach = True
        log(trained(3))
        mlflow.is_out_of_reach = False
        log(trained(4))

    (key,) = mlflow.tags
    assert [p.step for p in mlflow.get_metric_history(key, "train_loss")] == [1, 2, 3, 4]
    assert caplog.messages == ["mlflow_refused run=photos error=API request failed"]
