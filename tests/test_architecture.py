"""The rules of the house: imports flow one way, Ray stays at the edges, torch off the drivers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from repository import ROOT

ORDER = ["models", "trainers", "evaluation", "search"]
RAY_EDGES = {"trainers/worker.py"}
"""Besides everything in search/cluster/."""


def imported_packages(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_a_later_one(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    for file in (ROOT / package).rglob("*.py"):
        bad = imported_packages(file.read_text()) & later
        assert not bad, f"{file.relative_to(ROOT)} imports {sorted(bad)}, which come after it"


@pytest.mark.parametrize("package", ORDER)
def test_ray_is_imported_only_at_the_edges(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        name = str(file.relative_to(ROOT))
        is_edge = name in RAY_EDGES or name.startswith("search/cluster/")
        assert is_edge or "ray" not in imported_packages(file.read_text()), f"{name} imports ray"


@pytest.mark.parametrize("package", ORDER)
def test_packages_are_ours(package: str) -> None:
    """The names are generic: fail loudly if an installed package shadows one."""
    module = __import__(package)
    assert Path(str(module.__file__)).parent == ROOT / package


@pytest.mark.parametrize(
    "module", ["search.cluster.driver", "search.cluster.tuner", "search.cli", "search.books.ledger"]
)
def test_the_path_of_a_trial_driver_is_free_of_torch(module: str) -> None:
    """Driver and controller are two processes per trial; torch costs each 4 s and 0.5 GB."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT)


def test_rays_own_schema_accepts_the_cluster_file() -> None:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    del config["provider"]["type"]
    with pytest.raises(Exception, match="type"):
        validate_config(prepare_config(config))
