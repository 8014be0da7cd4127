import pytest

from search.errors import UserError
from search.overrides import parse_overrides, value_at, with_overrides
from trainers.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=0.1)


def test_an_override_is_validated_like_the_file() -> None:
    assert with_overrides(THREAT, {"eps": "8/255"}).eps == 8 / 255
    with pytest.raises(ValueError, match="greater than 0"):
        with_overrides(THREAT, {"eps": -1})


def test_an_unknown_path_names_the_nearest_one() -> None:
    with pytest.raises(KeyError, match="did you mean 'norm'"):
        with_overrides(THREAT, {"norms": "l2"})


def test_arguments_are_read_as_yaml() -> None:
    parsed = parse_overrides(["a.b=3", "c=[1, 2]", "d=4/255", "e=x=y"])

    assert parsed == {"a.b": 3, "c": [1, 2], "d": "4/255", "e": "x=y"}


@pytest.mark.parametrize("argument", ["a.b", "=3", "a=[1"])
def test_an_argument_that_is_no_override_is_refused(argument: str) -> None:
    with pytest.raises(UserError, match="override"):
        parse_overrides([argument])


def test_value_at_reads_what_with_overrides_wrote() -> None:
    assert value_at(with_overrides(THREAT, {"eps": 0.5}), "eps") == 0.5
