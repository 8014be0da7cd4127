"""What must hold before an attack means anything: images, labels, radius, model and logits.

Each rule is checked in turn, so that the first broken one is named in its own words.
"""

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import (
    _BatchNorm as BatchNorm,  # pyright: ignore[reportPrivateUsage]
)

from evaluation.paired import compare_paired
from evaluation.precision import full_precision
from models.cost import TIMM_REFUSALS
from models.normalize import MEAN_STD, normalization
from trainers.metrics import Accuracy
from trainers.threat import ThreatModel

REFUSALS = (*TIMM_REFUSALS, ValueError, TypeError, IndexError)
"""What models raise in a forward pass for images that they cannot take."""
TARGETED_CLASSES = 4
"""The targeted DLR loss ranks so many (Croce and Hein 2020, arXiv:2003.01690, eq. 7)."""
ROW_SUM = 1e-4
"""Rounding of the sum of a row of probabilities (ours): float32 keeps 1000 of them to 1e-5."""
LUCK = 1e-3
"""Below this p-value of McNemar's exact test another reading of the inputs is better (ours): seven
readings are tried, so chance alone warns in less than 0.4 % of evaluations."""
NAMED = 10
"""Layers or images that an error names."""


def check_inputs(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    num_classes: int,
    targets: int,
) -> tuple[str, ...]:
    """Checks all that an evaluation is handed, on a sample of its images in one forward pass.

    Args:
        model: On the device of `x`; left as it was.
        x: As an attack will get them. Some hundred images show a wrong normalisation.
        num_classes: Of the data.
        targets: Classes that targeted attacks aim at.

    Returns:
        Warnings: what is allowed, but hardly meant.

    Raises:
        ValueError: For the first rule that is broken.
    """
    check_images(x)
    check_labels(y, n=len(x), num_classes=num_classes)
    check_classes(num_classes=num_classes, targets=targets)
    check_radius(threat, x[0].numel())
    check_model(model)
    logits = check_logits(_outputs(model, x), n=len(x), num_classes=num_classes)
    return _suspicions(model, x, y, logits)


def check_images(x: Tensor) -> None:
    """Raises ValueError unless `x` is a batch of float32 images on [0, 1], channels first."""
    shape = tuple(x.shape)
    if x.ndim != 4 or shape[1] != 3:
        is_last = x.ndim == 4 and shape[3] == 3
        way_out = "x.permute(0, 3, 1, 2)" if is_last else "stack RGB images"
        raise ValueError(f"images must have the shape (n, 3, h, w), got {shape}; {way_out}")
    if not len(x):
        raise ValueError("an evaluation needs at least one image, got none; name more images")
    if x.dtype != torch.float32:
        way_out = "x.float() / 255" if x.dtype == torch.uint8 else "x.float()"
        raise ValueError(f"images must be float32 on [0, 1], got {_name(x.dtype)}; {way_out}")
    if bad := _rows(~x.isfinite().flatten(1).all(dim=1)):
        raise ValueError(f"every pixel must be finite, and {_some(bad)} have others; decode again")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"images must lie on [0, 1], got values from {low:.4g} to {high:.4g}; "
            f"{_to_unit_range(low, high)}"
        )


def check_labels(y: Tensor, *, n: int, num_classes: int) -> None:
    """Raises ValueError unless `y` has one integer label below `num_classes` for each image."""
    if y.ndim != 1:
        raise ValueError(
            f"labels must have the shape (n,), got {tuple(y.shape)}; of one-hot rows take "
            "y.argmax(dim=1)"
        )
    if len(y) != n:
        raise ValueError(f"every image needs one label, got {n} images and {len(y)} labels")
    if y.dtype != torch.int64:
        raise ValueError(f"labels must be int64, got {_name(y.dtype)}; take y.long()")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= num_classes:
        counts_from_1 = low == 1 and high == num_classes
        raise ValueError(
            f"labels must lie between 0 and {num_classes - 1}, got {low} to {high}; "
            f"{'count classes from 0: y - 1' if counts_from_1 else 'take the labels of this data'}"
        )


def check_classes(*, num_classes: int, targets: int) -> None:
    """Raises ValueError if there are too few classes for targeted attacks."""
    if num_classes < TARGETED_CLASSES:
        raise ValueError(
            f"AutoAttack's targeted loss needs at least {TARGETED_CLASSES} classes, got "
            f"{num_classes}; evaluate on data of more classes"
        )
    if targets >= num_classes:
        raise ValueError(
            f"targets ({targets}) must be less than the number of classes ({num_classes})"
        )


def check_radius(threat: ThreatModel, values: int) -> None:
    """Raises ValueError if every image lies in every other's ball.

    Args:
        values: Of an image: channels times height times width.
    """
    diameter = {"linf": 1.0, "l2": math.sqrt(values), "l1": float(values)}[threat.norm]
    if threat.eps > diameter:
        raise ValueError(
            f"{threat.norm} eps must be at most {diameter:g}, the diameter of the pixel box "
            f"[0, 1]^{values}, got {threat.eps:g}; if it counts grey levels, divide by 255"
        )


def check_model(model: nn.Module) -> None:
    """Raises ValueError if a part is in training mode, batch-dependent, or not float32."""
    layers = dict(model.named_modules())
    norms = {name: layer for name, layer in layers.items() if isinstance(layer, BatchNorm)}
    if model.training:
        raise ValueError("the model must be in eval mode, and is in training mode; model.eval()")
    if training := [name for name, layer in layers.items() if layer.training]:
        what = "BatchNorm follows the batch" if norms.keys() & training else "they may be random"
        raise ValueError(
            f"every layer must be in eval mode, and {', '.join(training[:NAMED])} are in training "
            f"mode ({what}); model.eval()"
        )
    if bare := [name for name, layer in norms.items() if layer.running_mean is None]:
        raise ValueError(
            f"BatchNorm must have running statistics, and {', '.join(bare[:NAMED])} have none: "
            "what an image gets would depend on its batch; train with track_running_stats"
        )
    dtypes = {_name(weight.dtype) for weight in model.parameters()} - {"float32"}
    if dtypes:
        raise ValueError(
            f"weights must be float32, got {', '.join(sorted(dtypes))}: attacks need its "
            "resolution; model.float()"
        )


def check_logits(logits: Any, *, n: int, num_classes: int) -> Tensor:
    """Returns what a model gave for `n` images if it is finite float32 logits of these classes.

    Raises:
        ValueError: If it is anything else, such as probabilities.
    """
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"a model must return a tensor of logits, got {type(logits).__name__}; wrap it and "
            "return its logits alone"
        )
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(
            f"logits must have the shape (n, classes), here ({n}, {num_classes}), got {shape}; "
            "pool and flatten before the classifier"
        )
    if shape[1] != num_classes:
        raise ValueError(
            f"the model must have the classes of the data, {num_classes}, and has {shape[1]}; take "
            "the data that it was trained on, or give it another head"
        )
    if logits.dtype != torch.float32:
        raise ValueError(
            f"logits must be float32, got {_name(logits.dtype)}; evaluate without autocast"
        )
    if bad := _rows(~logits.isfinite().all(dim=1)):
        raise ValueError(
            f"logits must be finite, and those of {_some(bad)} are not; look for a division by "
            "zero or an overflow in the model"
        )
    is_distribution = (logits >= 0).all() and ((logits.sum(dim=1) - 1).abs() <= ROW_SUM).all()
    if bool(is_distribution):
        raise ValueError(
            "a model must return logits, and every row is a probability distribution: its "
            "gradients vanish where it is sure, and attacks fail; leave out the softmax"
        )
    return logits


def _to_unit_range(low: float, high: float) -> str:
    if low >= 0 and 2 < high <= 255:
        return "divide by 255"
    if low >= -0.5 and high <= 1.5:
        return "bicubic resizing overshoots: x.clamp(0, 1)"
    return "normalisation belongs inside the model (model.normalize)"


def _outputs(model: nn.Module, x: Tensor) -> Any:
    try:
        with torch.no_grad(), full_precision():
            return model(x)
    except REFUSALS as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"the model must take images of shape {tuple(x.shape[1:])}, and refuses them: "
            f"{reason.rstrip('.')}; cut them to its own side, or build it for this one"
        ) from error


def _suspicions(model: nn.Module, x: Tensor, y: Tensor, logits: Tensor) -> tuple[str, ...]:
    """Says what fits the labels better than the model as it is, or that it only guesses."""
    plain = _hits(logits, y)
    accuracies = {
        how: _clean(hits)
        for how, hits in _explanations(model, x, y, logits).items()
        if sum(hits) > sum(plain) and compare_paired(hits, plain).p_value < LUCK
    }
    if accuracies:
        how, best = max(accuracies.items(), key=lambda pair: pair[1].correct)
        return (f"clean accuracy is {_shown(_clean(plain))}, but {_shown(best)} {how}",)
    if _clean(plain).interval[0] <= 1 / logits.shape[1]:
        return (
            f"clean accuracy is {_shown(_clean(plain))}, no better than a guess among "
            f"{logits.shape[1]} classes; are these the weights, and the classes in their order?",
        )
    return ()


def _explanations(model: nn.Module, x: Tensor, y: Tensor, logits: Tensor) -> dict[str, list[bool]]:
    found = {
        f"with labels {shift:+}: its classes begin elsewhere": _hits(logits, y + shift)
        for shift in (1, -1)
    }
    inputs = {
        f"with normalize={scheme}: it lacks its normalisation": normalization(scheme).to(x.device)(
            x
        )
        for scheme in MEAN_STD
        if scheme != "none"
    }
    inputs["on pixels of [0, 255]: it lacks its scaling"] = 255 * x
    inputs["with red and blue exchanged: it was trained on BGR"] = x.flip(1)
    for how, changed in inputs.items():
        with contextlib.suppress(ValueError):  # a model may refuse values beyond [0, 1]
            found[how] = _hits(_outputs(model, changed), y)
    return found


def _hits(logits: Tensor, y: Tensor) -> list[bool]:
    return (logits.argmax(dim=1) == y.to(logits.device)).tolist()


def _clean(hits: list[bool]) -> Accuracy:
    return Accuracy(attack="clean", n=len(hits), correct=sum(hits))


def _shown(accuracy: Accuracy) -> str:
    return f"{accuracy.value:.1%} of {accuracy.n}"


def _rows(is_bad: Tensor) -> list[int]:
    return is_bad.nonzero().squeeze(1).tolist()


def _some(rows: list[int]) -> str:
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"images {', '.join(map(str, rows[:NAMED]))}{more}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
