"""Semantics, gradients and features: pictures whose every pixel a linear model decides."""

from typing import Any

import pytest
import torch
from linear_subjects import IMAGES, linear_model, margins, quiet, subject_of
from pydantic import ValidationError
from torch import nn

from evaluation.analyses import features, gradients, semantics
from evaluation.analyses.config import FeaturesConfig, GradientsConfig, SemanticsConfig
from evaluation.analyses.judges import Resized
from trainers.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=2 / 255)
PGD = {"threat": THREAT, "steps": 4, "reach": 2.5}
SEMANTICS = SemanticsConfig.model_validate({**IMAGES, **PGD, "judges": "one,other"})
GRADIENTS = GradientsConfig.model_validate({**IMAGES, **PGD})


def features_config(**changes: Any) -> FeaturesConfig:
    fields = {"classes": (0, 1), "threat": {"norm": "linf", "eps": 0.25}, "batch_size": 2}
    return FeaturesConfig.model_validate({**fields, "steps": 4, "reach": 2.5, "seed": 0, **changes})


def opposite(model: nn.Sequential) -> nn.Sequential:
    """Returns a model of two classes that always says the other one."""
    other = linear_model(classes=2, seed=0)
    with torch.no_grad():
        for theirs, own in zip(other.parameters(), model.parameters(), strict=True):
            theirs.copy_(-own)
    return other


def without_bias(model: nn.Sequential) -> nn.Sequential:
    with torch.no_grad():
        dict(model.named_parameters())["1.bias"].zero_()
    return model


def test_grey_is_no_change_and_the_original_minus_the_adversarial_is_light() -> None:
    x = torch.full((3, 3, 4, 4), 0.5)
    x_adv = x + torch.tensor([0.0, -0.1, 0.1]).view(3, 1, 1, 1)

    rendered = semantics.render(x, x_adv, eps=0.1)

    torch.testing.assert_close(rendered[:, 0, 0, 0], torch.tensor([0.5, 1.0, 0.0]))


def test_the_perturbation_of_a_linear_model_is_the_sign_of_its_weights() -> None:
    model = linear_model(classes=2, seed=0)
    subject = subject_of(model=model, judge=linear_model(classes=2, seed=1))

    rendered = semantics.run(subject, SEMANTICS, report=quiet).arrays["rendered"]

    wrong = 1 - subject.images.labels[:6]
    weights = margins(model, subject)[1][torch.arange(6), wrong].view(6, 3, 8, 8)
    # Of eps = 2/255, float32 keeps four digits in x - x_adv.
    torch.testing.assert_close(torch.from_numpy(rendered), (weights > 0).float(), rtol=0, atol=1e-3)


def test_a_judge_of_the_same_weights_sees_every_class_and_the_opposite_judge_none() -> None:
    model = without_bias(linear_model(classes=2, seed=0))
    subject = subject_of(model=model, same=model, other=opposite(model))

    found = semantics.run(subject, SEMANTICS, report=quiet).findings

    same, other = found.judges
    assert (same.judge, same.perturbation.correct, same.clean.correct) == ("same", 40, 40)
    assert (other.perturbation.correct, other.clean.correct) == (0, 0)


def test_semantics_without_a_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a classifier that judges, got none"):
        semantics.run(subject_of(m=linear_model(classes=2, seed=0)), SEMANTICS, report=quiet)


def test_a_perturbation_that_has_no_picture_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"threat\.norm must be linf, .* got l2; set"):
        SemanticsConfig.model_validate(
            {**SEMANTICS.model_dump(), "threat": {"norm": "l2", "eps": 1}}
        )


def test_a_judge_of_another_size_sees_the_same_colours() -> None:
    colours = torch.rand(5, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    judge = linear_model(classes=2, seed=0)

    resized = Resized(judge, side=8)(colours.expand(5, 3, 20, 20))

    torch.testing.assert_close(resized, judge(colours.expand(5, 3, 8, 8)), rtol=1e-4, atol=1e-4)


def test_the_input_gradient_of_a_linear_model_is_exact() -> None:
    model = linear_model(classes=2, seed=0)
    with torch.no_grad():
        dict(model.named_parameters())["1.weight"][:, :48] = 0.5  # of no use to either class
    subject = subject_of(model=model)

    outcome = gradients.run(subject, GRADIENTS, report=quiet)

    wrong, rows = 1 - subject.images.labels, torch.arange(40)
    gaps, differences = (values[rows, wrong] for values in margins(model, subject))
    exact = -gaps.neg().sigmoid().unsqueeze(1) * differences
    found = torch.from_numpy(outcome.arrays["gradient"]).flatten(1)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)
    assert outcome.findings.l2_norm == pytest.approx(float(exact.norm(dim=1).mean()), rel=1e-3)


def test_perturbations_stay_inside_eps_and_predictions_belong_to_their_images() -> None:
    model = linear_model(classes=5, seed=0)
    subject = subject_of(model=model)

    outcome = gradients.run(subject, GRADIENTS, report=quiet)

    arrays = {name: torch.from_numpy(array) for name, array in outcome.arrays.items()}
    assert float((arrays["adversarial"] - arrays["clean"]).abs().max()) <= THREAT.eps * 1.0001
    for image, said in (("clean", "clean_prediction"), ("adversarial", "adversarial_prediction")):
        assert model(arrays[image]).argmax(dim=1).tolist() == arrays[said].tolist()
    assert outcome.findings.clean.correct == 40 > outcome.findings.robust.correct


def test_noise_moves_to_the_corner_of_the_ball_that_its_class_likes_best() -> None:
    model = linear_model(classes=2, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.05)  # at a probability of 1, float32 has no slope left

    outcome = features.run(subject_of(model=model), features_config(), report=quiet)

    noise, image = (torch.from_numpy(outcome.arrays[name]) for name in ("noise", "image"))
    weight = dict(model.named_parameters())["1.weight"]
    towards = torch.stack([weight[0] - weight[1], weight[1] - weight[0]]).sign().view_as(noise)
    torch.testing.assert_close(image, (noise + 0.25 * towards).clamp(0, 1))
    assert outcome.findings.reached == 2
    for feature in outcome.findings.features:
        assert feature.probability > feature.noise_probability


def test_the_noise_of_a_class_does_not_depend_on_the_others() -> None:
    subject = subject_of(model=linear_model(classes=5, seed=0))

    both, alone = (
        features.run(subject, features_config(classes=classes), report=quiet).arrays
        for classes in ((0, 3), (3,))
    )

    assert both["noise"][1].tolist() == alone["noise"][0].tolist()
    assert both["noise"][0].tolist() != both["noise"][1].tolist()
    assert 0 <= both["noise"].min() < 0.05
    assert 0.95 < both["noise"].max() <= 1


def test_a_class_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"classes must be numbers below 2, .* got 7"):
        features.run(
            subject_of(model=linear_model(classes=2, seed=0)),
            features_config(classes=(0, 7)),
            report=quiet,
        )
