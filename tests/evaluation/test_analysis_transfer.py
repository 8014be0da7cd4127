"""Transfer: exact between linear models, where nothing fools a model like its own images."""

import pytest
import torch
from linear_subjects import IMAGES, linear_model, margins, quiet, subject_of

from evaluation.analyses import transfer
from evaluation.analyses.config import TransferConfig
from trainers.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=1 / 255)
CONFIG = TransferConfig.model_validate({**IMAGES, "threat": THREAT, "steps": 10, "with": "x"})


def test_the_matrix_of_linear_models_is_exact() -> None:
    models = {"one": linear_model(classes=2, seed=0), "other": linear_model(classes=2, seed=2)}
    subject = subject_of(**models)

    found = transfer.run(subject, CONFIG, report=quiet).findings

    wrong = 1 - subject.images.labels
    rows = torch.arange(40)
    for source, row in zip(models.values(), found.rows, strict=True):
        direction = margins(source, subject)[1][rows, wrong].sign()  # (n, 192), to be subtracted
        for name, target in models.items():
            gaps, differences = (values[rows, wrong] for values in margins(target, subject))
            exact = gaps - THREAT.eps * (differences * direction).sum(dim=1) > 0
            assert row.targets[name].correct == int(exact.sum()), name


def test_nothing_fools_a_linear_model_like_its_own_images() -> None:
    models = {str(seed): linear_model(classes=2, seed=seed) for seed in range(3)}

    outcome = transfer.run(subject_of(**models), CONFIG, report=quiet)

    right = torch.from_numpy(outcome.arrays["is_correct"])  # (sources, targets, n)
    own = right.diagonal().T  # (targets, n)
    assert bool((own <= right).all())
    assert bool(
        (right.sum(dim=2) <= torch.from_numpy(outcome.arrays["is_clean_correct"]).sum(1)).any()
    )


def test_a_twin_is_fooled_by_the_same_images() -> None:
    subject = subject_of(a=linear_model(classes=5, seed=0), twin=linear_model(classes=5, seed=0))

    rows = transfer.run(subject, CONFIG, report=quiet).findings.rows

    assert rows[0].targets == rows[1].targets
    assert rows[0].targets["a"] == rows[0].targets["twin"]
    assert rows[0].targets["a"].attack == "apgd_ce10"


def test_one_model_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a second model, got none; name its checkpoint"):
        transfer.run(subject_of(a=linear_model(classes=2, seed=0)), CONFIG, report=quiet)


def test_the_other_models_are_named_by_with() -> None:
    config = TransferConfig.model_validate({**CONFIG.model_dump(), "with": "a/b, c"})

    assert config.others == ("a/b", "c")
    assert config.model_dump(mode="json")["with"] == ["a/b", "c"]
