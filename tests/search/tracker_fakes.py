"""Stand-ins for two services that take numbers of runs, as far as we speak to them."""

import re
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace, TracebackType
from typing import NamedTuple


class WandbRun:
    """One session of a run; the steps of earlier ones are known, and never come again."""

    def __init__(self, rows: dict[int, dict[str, float]]) -> None:
        self.rows = rows
        self.exit_codes: list[int] = []

    @property
    def step(self) -> int:
        return max(self.rows, default=-1) + 1

    def log(self, numbers: dict[str, float], *, step: int, commit: bool) -> None:
        assert commit, "or W&B shows an epoch only when the next one ends"
        assert step >= self.step, "W&B ignores a step that is told again, and complains"
        self.rows[step] = numbers

    def __enter__(self) -> "WandbRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.exit_codes.append(0 if kind is None else 1)


class Wandb:
    """The module `wandb`, and the server behind it."""

    class Error(Exception):
        """What W&B raises."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.options: list[dict[str, object]] = []
        self.runs: dict[str, WandbRun] = {}

    def Settings(self, *, console: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(console=console)

    def init(self, **options: object) -> WandbRun:
        if self.refuses:
            raise self.Error("No API key configured.")
        self.options.append(options)
        return self.runs.setdefault(str(options["id"]), WandbRun({}))


class Metric(NamedTuple):
    """A point, as MLflow keeps it."""

    key: str
    value: float
    timestamp: int
    step: int


class Param(NamedTuple):
    """A hyperparameter, as MLflow keeps it."""

    key: str
    value: str


class Mlflow:
    """The module `mlflow`, its client and the server behind it."""

    class MlflowException(Exception):  # noqa: N818
        """What MLflow raises."""

    entities = SimpleNamespace(Metric=Metric, Param=Param)

    def __init__(self) -> None:
        self.is_out_of_reach = False
        self.experiments: list[str] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.status: dict[str, str] = {}
        self.params: dict[str, dict[str, str]] = defaultdict(dict)
        self.points: dict[str, list[Metric]] = defaultdict(list)

    def MlflowClient(self) -> "Mlflow":  # noqa: N802
        if self.is_out_of_reach:
            raise self.MlflowException("API request failed")
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        self.experiments.append(name)
        return name

    def search_runs(self, places: list[str], *, filter_string: str) -> list[SimpleNamespace]:
        match = re.fullmatch(r"tags\.`(.+)` = '(.+)'", filter_string)
        assert match
        assert places == self.experiments
        tag, value = match.groups()
        found = [key for key, tags in self.tags.items() if tags.get(tag) == value]
        return [SimpleNamespace(info=SimpleNamespace(run_id=key)) for key in found]

    def create_run(self, place: str, *, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        key = f"{place}/{run_name}/{len(self.tags)}"
        self.tags[key] = tags
        return SimpleNamespace(info=SimpleNamespace(run_id=key))

    def update_run(self, key: str, *, status: str) -> None:
        self.status[key] = status

    def set_terminated(self, key: str, status: str) -> None:
        self.status[key] = status

    def get_metric_history(self, key: str, name: str) -> list[Metric]:
        return [point for point in self.points[key] if point.key == name]

    def log_batch(
        self, key: str, *, metrics: Sequence[Metric] = (), params: Sequence[Param] = ()
    ) -> None:
        if self.is_out_of_reach:
            raise self.MlflowException("API request failed")
        assert len(params) <= 100, "MLflow takes no more at once"
        assert all(re.fullmatch(r"[\w\-. :/]+", point.key) for point in metrics)
        self.points[key].extend(metrics)
        self.params[key].update(dict(params))
