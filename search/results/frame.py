"""Tables with typed columns, and how an accuracy stands in them: with attack, n and interval."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from trainers.atomic import replacing, write_atomically
from trainers.metrics import Accuracy, Check


def accuracy_columns(prefix: str) -> dict[str, str]:
    """Returns the columns that `accuracy_cells` fills, with their pandas types."""
    return {
        f"{prefix}_accuracy": "Float64",
        f"{prefix}_attack": "string",
        f"{prefix}_n": "Int64",
        f"{prefix}_low": "Float64",
        f"{prefix}_high": "Float64",
    }


def accuracy_cells(prefix: str, accuracy: Accuracy) -> dict[str, object]:
    """Returns an accuracy as cells of a row."""
    low, high = accuracy.interval
    return {
        f"{prefix}_accuracy": accuracy.value,
        f"{prefix}_attack": accuracy.attack,
        f"{prefix}_n": accuracy.n,
        f"{prefix}_low": low,
        f"{prefix}_high": high,
    }


def unseen_columns(checks: Iterable[Check]) -> dict[str, str]:
    """Returns columns `unseen_1_accuracy`, ... for each threat that training does not know."""
    most = max((len(check.unseen) for check in checks), default=0)
    return {
        name: kind
        for place in range(1, most + 1)
        for name, kind in accuracy_columns(f"unseen_{place}").items()
    }


def unseen_cells(check: Check) -> dict[str, object]:
    """Returns what `unseen_columns` hold; the threat stands in the name of the attack."""
    return {
        name: value
        for place, accuracy in enumerate(check.unseen, start=1)
        for name, value in accuracy_cells(f"unseen_{place}", accuracy).items()
    }


def typed_frame(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Returns `columns`, name -> nullable pandas type, of all rows; what a row lacks is null."""
    return pd.DataFrame(
        {
            name: pd.Series([row.get(name) for row in rows], dtype=kind)  # pyright: ignore[reportArgumentType, reportCallIssue]
            for name, kind in columns.items()
        }
    )


def write_frame(frame: pd.DataFrame, *, csv: Path, parquet: Path) -> None:
    """Replaces both files, each atomically."""
    write_atomically(csv, frame.to_csv(index=False))
    with replacing(parquet) as file:
        frame.to_parquet(file, index=False)
