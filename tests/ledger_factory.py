"""The books of a search over the demo's space, without Ray."""

from pathlib import Path
from typing import Any

from diagnosis_factory import probe
from optuna.trial import TrialState
from repository import DEMO

from search.books.ledger import Ledger
from search.books.records import TrialRecord
from search.books.study import create_study, open_study
from search.config import ExperimentConfig
from search.folder import SearchFolder
from search.load import load_experiment
from trainers.metrics import Accuracy, Check, EpochMetrics, Progress

N = 100


def experiment(**overrides: Any) -> ExperimentConfig:
    changes = {
        "base.epochs": 4,
        "ladder.rungs": [1, 2],
        "ladder.decide": "stop",
        "budget.trials": 6,
        **overrides,
    }
    return load_experiment(DEMO, changes)


def promoting(**changes: Any) -> ExperimentConfig:
    """A search that promotes; its base has 4 epochs, and rungs at 1 and 2."""
    random = {"warm_start": [], "constraints": {}, "sampler": {"name": "random", "seed": 0}}
    return experiment(**{"ladder.decide": "promote", **random, **changes})


class Session:
    """One opening of the books; a second one on the same folder is a resume."""

    def __init__(self, root: Path, config: ExperimentConfig, *, driver: str = "") -> None:
        self.folder = SearchFolder(root=root)
        if not self.folder.study.exists():
            root.mkdir(exist_ok=True)
            create_study(self.folder, config)
        self.study = open_study(self.folder, config)
        self.ledger = Ledger(
            self.folder, config, self.study, on_change=lambda _: None, driver=driver
        )

    def open(self) -> TrialRecord:
        record = self.ledger.next_trial()
        assert record is not None
        return record

    def run(self, *robust: int) -> TrialRecord:
        """Opens the next trial and reports so many right images, of 100, up to its goal."""
        record = self.open()
        shown = robust[record.epochs_before : record.goal]
        goes_on = self.ledger.report(record.key, progress(*shown), node="n")
        if goes_on and record.goal == record.config.epochs:
            self.ledger.finish(record.key)
        return next(one for one in self.ledger.records if one.key == record.key)

    def state(self, record: TrialRecord) -> TrialState:
        return self.study.get_trials(deepcopy=False)[record.number].state


def statuses(session: Session) -> list[str]:
    return [record.status for record in session.ledger.records]


def progress(*robust: int, first_step_at: float = 0.0) -> Progress:
    """A history with a check in each epoch; `robust` counts of 100 images, -1 for no check."""
    history = [
        EpochMetrics(
            epoch=epoch,
            train_loss=1.0,
            train_accuracy=0.5,
            lr=0.1,
            eps=0.01,
            seconds=1.0,
            check=None
            if count < 0
            else Check(
                clean=Accuracy(attack="clean", n=N, correct=max(count, 60)),
                robust=Accuracy(attack="apgd", n=N, correct=count),
                seconds=0.1,
            ),
            raw_check=None,
        )
        for epoch, count in enumerate(robust, 1)
    ]
    return Progress(
        params_m=1,
        gmacs=1,
        start="random weights",
        images="0" * 12,
        clean_seconds=0.0,
        first_step_at=first_step_at,
        events=(),
        history=tuple(history),
    )


def with_probe(report: Progress, *, pgd1: int, pgd10: int) -> Progress:
    """Puts a probe of so many right images beside the last check."""
    *before, last = report.history
    assert last.check is not None
    check = last.check.model_copy(update={"probe": probe(pgd1=pgd1, pgd10=pgd10, n=N)})
    history = (*before, last.model_copy(update={"check": check}))
    return report.model_copy(update={"history": history})
