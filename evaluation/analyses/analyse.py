"""Runs an analysis once: its result and evidence are files, and a second call reads them.

A folder of an analysis holds `result.json` and `arrays.npz`; `search` adds a picture.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from evaluation.analyses import (
    convergence,
    effectiveness,
    eps_curve,
    features,
    gradients,
    masking,
    norms,
    semantics,
    transfer,
)
from evaluation.analyses.outcome import AnalysisResult, Outcome
from evaluation.analyses.subject import LoadedSubject
from evaluation.precision import full_precision
from evaluation.progress import refuse_mismatch
from models.config import Config
from trainers.atomic import write_atomically

RESULT, ARRAYS = "result.json", "arrays.npz"
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What computes an analysis, and what its results are."""

    run: Callable[..., Outcome[Any]]
    """Called with the subject, the config and `report`."""
    result: type[AnalysisResult]
    """With the fields `config` and `findings`."""


RUNS = {
    "eps_curve": Kind(run=eps_curve.run, result=eps_curve.EpsCurveResult),
    "effectiveness": Kind(run=effectiveness.run, result=effectiveness.EffectivenessResult),
    "convergence": Kind(run=convergence.run, result=convergence.ConvergenceResult),
    "transfer": Kind(run=transfer.run, result=transfer.TransferResult),
    "norms": Kind(run=norms.run, result=norms.NormsResult),
    "semantics": Kind(run=semantics.run, result=semantics.SemanticsResult),
    "gradients": Kind(run=gradients.run, result=gradients.GradientsResult),
    "features": Kind(run=features.run, result=features.FeaturesResult),
    "masking": Kind(run=masking.run, result=masking.MaskingResult),
}


def analyse(
    kind: str, loaded: LoadedSubject, config: Config, out: Path, *, report: Callable[[str], None]
) -> AnalysisResult:
    """Runs the analysis `kind`, or returns its finished result without work.

    Args:
        out: Created if absent; gets `result.json` and `arrays.npz`.
        report: Told what was found, line by line.

    Raises:
        ValueError: If `out` holds another analysis, or as the kind says.
    """
    if (out / RESULT).exists():
        return _read_finished(kind, loaded, config, out / RESULT)
    started = time.perf_counter()
    with full_precision():
        outcome = RUNS[kind].run(loaded.subject, config, report=report)
    result = RUNS[kind].result.model_validate(
        {
            "schema_version": 1,
            "kind": kind,
            "models": loaded.models,
            "images": loaded.images,
            "config": config,
            "findings": outcome.findings,
            "seconds": time.perf_counter() - started,
        }
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **outcome.arrays)
    write_atomically(out / ARRAYS, buffer.getvalue())
    # Last, because a result that is there means that its evidence is.
    write_atomically(out / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


def read_arrays(out: Path) -> Arrays:
    """Returns the evidence of a finished analysis."""
    with np.load(out / ARRAYS) as file:
        return dict(file)


def _read_finished(kind: str, loaded: LoadedSubject, config: Config, path: Path) -> AnalysisResult:
    try:
        result = RUNS[kind].result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{path} must be the result of {kind}, and is damaged or of another version; delete "
            "its folder to begin anew"
        ) from error
    expected = {
        "models": [model.model_dump(mode="json") for model in loaded.models],
        "images": loaded.images.model_dump(mode="json") if loaded.images else None,
        "config": config.model_dump(mode="json"),
    }
    refuse_mismatch(path, found=result.model_dump(mode="json"), expected=expected)
    return result
