"""What Rampart needs to be installed, and what is. Light: nothing of it is imported."""

import platform
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata

from packaging.requirements import Requirement

from search.source import ROOT

INSTALL = "pip install --constraint constraints.txt --editable ."
"""In a checkout of Rampart."""
PROJECT = ROOT / "pyproject.toml"


def requirements() -> tuple[Requirement, ...]:
    """Returns our direct dependencies: those of the checkout, which may be newer than its install.

    Raises:
        importlib.metadata.PackageNotFoundError: If this is neither a checkout nor installed.
    """
    if PROJECT.exists():
        project = tomllib.loads(PROJECT.read_text())["project"]
        return tuple(map(Requirement, project["dependencies"]))
    return _of_package("rampart", extras=("",))


def installed(names: Iterable[str]) -> dict[str, str]:
    """Returns the versions of Python, and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def unmet(wanted: Sequence[Requirement], versions: Mapping[str, str]) -> list[str]:
    """Returns in words what is missing, or of a version that we cannot use."""
    found: list[str] = []
    for one in wanted:
        version, rule = versions.get(one.name), f"wanted {one.specifier or 'any'}"
        if version is None:
            found.append(f"{one.name} is missing ({rule})")
        elif not one.specifier.contains(version, prereleases=True):
            found.append(f"{one.name} {version} ({rule})")
    return found


def of_extras(wanted: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """Returns what the extras of installed packages ask for, such as ray[default]."""
    there = installed(one.name for one in wanted if one.extras)
    return tuple(
        part
        for one in wanted
        if one.name in there
        for part in _of_package(one.name, extras=sorted(one.extras))
        if part.marker and not part.marker.evaluate({"extra": ""})
    )


def _of_package(name: str, *, extras: Sequence[str]) -> tuple[Requirement, ...]:
    parts = map(Requirement, metadata.requires(name) or ())
    return tuple(
        part
        for part in parts
        if part.marker is None or any(part.marker.evaluate({"extra": e}) for e in extras)
    )
