import importlib.metadata

import pytest
from packaging.requirements import Requirement

from search.doctor.examine import check_versions
from search.doctor.versions import installed, of_extras, requirements, unmet


@pytest.mark.parametrize(
    ("requirement", "version", "words"),
    [
        ("torch>=2.11", "2.15.0+cpu", []),
        ("torch>=2.11", "2.9.1", ["torch 2.9.1 (wanted >=2.11)"]),
        ("torch>=2.11", None, ["torch is missing (wanted >=2.11)"]),
        ("pyautoattack==0.2.0", "0.2.1", ["pyautoattack 0.2.1 (wanted ==0.2.0)"]),
        ("ray[default,tune]>=2.60,<2.61", "2.61.0", ["ray 2.61.0 (wanted <2.61,>=2.60)"]),
        ("optuna>=5", "5.1.0b1", []),
    ],
)
def test_versions_are_held_against_requirements(
    requirement: str, version: str | None, words: list[str]
) -> None:
    versions = {} if version is None else {requirement.split("[")[0].split(">")[0]: version}
    versions |= {"pyautoattack": version} if version and "==" in requirement else {}

    assert unmet([Requirement(requirement)], versions) == words


def test_the_environment_of_the_tests_has_what_pyproject_wants() -> None:
    wanted = requirements()
    versions = installed(one.name for one in (*wanted, *of_extras(wanted)))

    check = check_versions((*wanted, *of_extras(wanted)), versions)

    assert check.verdict == "ok"
    assert versions["ray"] == importlib.metadata.version("ray")


def test_a_ray_without_its_dashboard_is_found_by_what_the_extra_asks_for() -> None:
    parts = of_extras([Requirement("ray[default]")])

    names = {part.name for part in parts}

    assert {"aiohttp_cors", "opencensus"} <= names
    assert "fsspec" not in names  # asked for by ray[tune]
    assert unmet(parts, {})
