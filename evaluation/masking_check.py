"""The masking signs of a promoted model: beside its reference result, once."""

from pathlib import Path

import torch

from evaluation.analyses.defaults import default_config
from evaluation.masking import masking_signs
from evaluation.masking_config import MaskingConfig
from evaluation.masking_report import MaskingReport
from evaluation.weights import model_hash
from trainers.atomic import write_atomically
from trainers.checkpoint import load_model
from trainers.data.load import load_held_out


def check_masking(checkpoint: Path, path: Path, *, device: torch.device) -> MaskingReport:
    """Looks for signs of masking on the test split, as `rampart analyse masking` does by default.

    Args:
        path: Gets the report as JSON; one of the same model is returned without work.
    """
    trial, model = load_model(checkpoint)
    if path.exists():
        earlier = MaskingReport.model_validate_json(path.read_bytes())
        if earlier.model_hash == model_hash(model):
            return earlier
    config = default_config("masking", trial)
    assert isinstance(config, MaskingConfig)
    images = load_held_out(trial.data, config.split, threads=torch.get_num_threads())
    report = masking_signs(model.to(device), images, config, device=device, report=lambda _: None)
    write_atomically(path, report.model_dump_json(indent=1))
    return report
