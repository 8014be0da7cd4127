"""What `rampart models` prints."""

import io

import pytest
import yaml
from family_factory import ADAPTER
from rich.console import Console

from models.config import FAMILIES
from models.cost import forward_cost
from models.named import NAMES, Stem, named_model
from search.commands.models_page import STEMS, models_page, named_by_family, named_yaml
from search.errors import UserError


@pytest.fixture(scope="module", name="page")
def _page() -> str:  # pyright: ignore[reportUnusedFunction]
    console = Console(file=io.StringIO(), width=100)
    console.print(models_page(named=("convnext_tiny", "resnet50", "xcit_n12")))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows(page: str) -> list[list[str]]:
    return [line.split() for line in page.splitlines()]


def test_a_row_has_the_published_size(page: str) -> None:
    # Singh et al. 2023, arXiv:2303.01870; timm's results-imagenet.csv for ResNet-50.
    assert ["convnext_tiny", "patch", "(published)", "28.59", "4.46"] in rows(page)
    assert ["conv", "28.63", "4.59"] in rows(page)
    assert ["resnet50", "pool", "(published)", "25.56", "4.09"] in rows(page)


def test_another_stem_has_a_row_with_its_size(page: str) -> None:
    config = named_model("xcit_n12", stem="patch")

    size = forward_cost(config, num_classes=1000, resolution=224)

    assert ["patch", f"{size.params_m:.2f}", f"{size.gmacs:.2f}"] in rows(page)


def test_every_named_model_belongs_to_one_family_and_shows_its_own_stem_first() -> None:
    found = [
        name
        for family in FAMILIES
        for name, stem, _ in named_by_family(family, NAMES)
        if stem == "own"
    ]

    assert sorted(found) == sorted(NAMES)


def test_no_stem_is_shown_twice() -> None:
    shown = [config for family in FAMILIES for _, _, config in named_by_family(family, ("vit_s",))]

    assert shown == [named_model("vit_s", stem="own"), named_model("vit_s", stem="conv")]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_a_family_is_named(family: str, page: str) -> None:
    text = " ".join(page.split())

    for field in set(FAMILIES[family].model_fields) - {"family"}:
        assert f"{field} (" in text


def test_a_field_comes_with_what_it_takes(page: str) -> None:
    text = " ".join(page.split())

    assert "kernel_size (3, 5, 7, 9, 11, 13)" in text
    assert "stem_widths (doubling, linear, list)" in text
    assert "blur_pool (true, false)" in text


def test_the_page_says_how_models_of_timm_are_named(page: str) -> None:
    assert "timm/NAME is the model NAME of timm, such as timm/resnet18" in page


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize(
    "name", ["convnext_tiny", "vit_m", "xcit_n12", "resnet50_silu", "swin_t", "timm/test_vit"]
)
def test_the_printed_section_is_the_named_model(name: str, stem: Stem) -> None:
    config = named_model(name, stem=stem)

    section = yaml.safe_load(named_yaml(name, stem=stem))

    assert ADAPTER.validate_python(section) == config


@pytest.mark.parametrize("name", ["convnext_tiny", "timm/resnet18"])
def test_a_section_has_its_size_above_and_a_line_for_each_field_in_order(name: str) -> None:
    comment, *lines = named_yaml(name, stem="own").splitlines()

    fields = list(type(named_model(name, stem="own")).model_fields)
    assert comment.startswith("# ")
    assert [line.partition(": ")[0] for line in lines] == fields


def test_the_comment_has_the_published_size() -> None:
    comment, *lines = named_yaml("convnext_tiny", stem="conv").splitlines()

    size = "28.63 M parameters, 4.59 GMACs at 224 px and 1000 classes"
    assert comment == f"# convnext_tiny, stem conv: {size}"
    assert "depths: [3, 3, 9, 3]" in lines


@pytest.mark.parametrize(
    ("name", "stem", "words"),
    [
        ("convnext_tinny", "conv", "no model is named 'convnext_tinny'; nearest: convnext_tiny"),
        ("timm/resnet81", "own", "timm has no model 'resnet81'; nearest: .*resnet18"),
        ("timm/resnet18", "conv", "resnet18 lacks .*; take stem=own"),
    ],
)
def test_a_name_or_stem_that_is_not_there_is_the_users_mistake(
    name: str, stem: Stem, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        named_yaml(name, stem=stem)


def test_the_page_ends_with_how_a_named_model_gets_into_an_experiment(page: str) -> None:
    foot = " ".join(page.partition("In an experiment")[2].split())

    assert foot.startswith("`rampart models convnext_tiny conv` prints all fields of a named model")
    assert "under base.model or under the section of a branch" in foot
