"""Tables with typed columns, and how an accuracy stands in them: with attack, n and interval."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from trainers.atomic import replacing, write_atomically
from trainers.metrics import Accuracy


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
