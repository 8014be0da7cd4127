"""What `rampart models` prints: models with their size, fields of families, or one model."""

from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.config import FAMILIES, AnyModelConfig, FamilyConfig, StemConfig
from models.named import NAMES, TIMM, Stem, named_model
from search.errors import UserError

NUM_CLASSES = 1000
RESOLUTION = 224
STEMS: tuple[Stem, ...] = ("own", "patch", "conv")
COMMON = tuple(FamilyConfig.model_fields)
OF_STEMS = tuple(name for name in StemConfig.model_fields if name not in COMMON)


def models_page(named: Sequence[str] = NAMES) -> RenderableType:
    """Returns a row per named model and stem, then what each family can change."""
    return Group(
        _heading("Named models: millions of parameters, GMACs at 224 px and 1000 classes"),
        *(_sizes(family, named) for family in FAMILIES),
        _heading("Any other"),
        Text(
            f"{TIMM}NAME is the model NAME of timm, such as {TIMM}resnet18; timm.list_models('*') "
            "has all names. With the conv stem, convolutions replace its patch embedding, if it "
            "has one."
        ),
        _heading("Fields of the families"),
        _fields("all", "", COMMON, FamilyConfig),
        _fields("all but timm", "", OF_STEMS, StemConfig),
        *(_fields(name, _title(kind), _own(kind), kind) for name, kind in FAMILIES.items()),
        _heading("In an experiment"),
        Text(
            "`rampart models convnext_tiny conv` prints all fields of a named model, to be pasted, "
            "indented, under base.model or under the section of a branch; the stem is one of "
            f"{', '.join(STEMS)}. `rampart models {TIMM}resnet18` does so for a model of timm."
        ),
    )


def named_yaml(name: str, *, stem: Stem) -> str:
    """Returns a named model as YAML for `base.model` or the `section` of a branch.

    The size is in a comment above; what belongs to a recipe is off, as in `named_model`.

    Args:
        name: As for `named_model`.

    Raises:
        UserError: If there is no such model, if it cannot have this stem, or if it cannot take
            images of 224 pixels.
    """
    from models.cost import forward_cost

    try:
        config = named_model(name, stem=stem)
        size = forward_cost(config, num_classes=NUM_CLASSES, resolution=RESOLUTION)
    except ValueError as error:
        raise UserError(str(error)) from error
    comment = (
        f"# {name}, stem {config.stem}: {size.params_m:.2f} M parameters, {size.gmacs:.2f} GMACs "
        f"at {RESOLUTION} px and {NUM_CLASSES} classes\n"
    )
    return comment + "".join(_line(*item) for item in config.model_dump(mode="json").items())


def named_by_family(
    family: str, names: Sequence[str]
) -> Iterator[tuple[str, Stem, AnyModelConfig]]:
    """Yields the models of a family with each of their stems; `own`, as published, is first."""
    for name in names:
        seen: list[AnyModelConfig] = []
        for stem in STEMS:
            config = named_model(name, stem=stem)
            if config.family == family and config not in seen:
                seen.append(config)
                yield name, stem, config


def _sizes(family: str, names: Sequence[str]) -> Table:
    from models.cost import forward_cost

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(family, width=18, no_wrap=True)
    table.add_column("stem", width=17, no_wrap=True)
    for name in ("params M", "GMACs"):
        table.add_column(name, width=8, justify="right", no_wrap=True)
    for name, stem, config in named_by_family(family, names):
        size = forward_cost(config, num_classes=NUM_CLASSES, resolution=RESOLUTION)
        is_own = stem == "own"
        table.add_row(
            Text(name if is_own else ""),
            Text(f"{config.stem} (published)" if is_own else stem),
            f"{size.params_m:.2f}",
            f"{size.gmacs:.2f}",
        )
    return table


def _line(field: str, value: Any) -> str:
    # None: lists in brackets, but then a mapping of one plain value would be in braces.
    return yaml.safe_dump(
        {field: value}, default_flow_style=None if isinstance(value, list) else False
    )


def _own(kind: type[AnyModelConfig]) -> tuple[str, ...]:
    shared = {"family", *COMMON, *OF_STEMS}
    return tuple(name for name in kind.model_fields if name not in shared)


def _title(kind: type[AnyModelConfig]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _fields(name: str, title: str, fields: tuple[str, ...], kind: type[FamilyConfig]) -> Text:
    values = (
        f"{field} ({', '.join(_values(kind.model_fields[field].annotation))})" for field in fields
    )
    return Text.assemble((name, "bold"), f": {title} " if title else ": ", ", ".join(values))


def _values(annotation: Any) -> Iterator[str]:
    """Yields what a field takes: each of its choices, or its type in words of YAML."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from map(str, get_args(annotation))
    elif origin is Annotated:
        yield from _values(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _values(part)
    elif origin is tuple:
        yield "list"
    else:
        yield {int: "whole number", float: "number", bool: "true, false", str: "text"}[annotation]


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")
