"""What `rampart doctor` does: looks at what usually breaks, and names the cures."""

import os
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console

from search.config import ExperimentConfig
from search.doctor.folder_checks import check_database
from search.doctor.health import Check, Question, checks_table
from search.doctor.node_checks import node_checks
from search.doctor.versions import INSTALL, installed, of_extras, requirements, unmet
from search.errors import NothingToShowError, UserError
from search.folder import SearchFolder
from search.load import PATHS
from search.overrides import paths, value_at
from search.plan.preflight import check_data, trials_to_check

TOKEN_FILE = "~/.ray/auth_token"
FILES = ("sqlite", "journal")
"""Storages in the folder of results."""


def doctor(config: ExperimentConfig | None, *, address: str | None, console: Console) -> None:
    """Prints what was found of this machine, of Ray and of every node, and what to do about it.

    Args:
        config: Of a search that is to run; None: only what concerns every search.

    Raises:
        NothingToShowError: If a check failed.
    """
    wanted = requirements()
    names = [one.name for one in wanted]
    parts = of_extras(wanted)
    checks = [
        check_versions((*wanted, *parts), installed([*names, *(part.name for part in parts)])),
        check_token(os.environ, has_file=Path(TOKEN_FILE).expanduser().exists(), address=address),
    ]
    if config:
        checks += _config_checks(config)
    with console.status("looking at the nodes of Ray"):
        checks += _cluster_checks(config, wanted, address=address)
    console.print(checks_table(checks))
    if config is None:
        console.print("With CONFIG.yaml: also data, storage and resources of that search.")
    failed = [check.name for check in checks if check.verdict == "failed"]
    if failed:
        raise NothingToShowError(
            f"{len(failed)} of {len(checks)} checks failed ({', '.join(failed)}); each row above "
            "ends with its cure"
        )


def check_versions(wanted: tuple[Requirement, ...], versions: Mapping[str, str]) -> Check:
    """Checks that what Rampart needs is installed here, extras such as ray[default] included."""
    if broken := unmet(wanted, versions):
        cure = f"{INSTALL}  (in Rampart's folder)"
        return Check(name="versions", verdict="failed", found="; ".join(broken), cure=cure)
    shown = ", ".join(f"{name} {versions[name]}" for name in ("python", "ray", "torch"))
    found = f"{len({one.name for one in wanted})} packages as required, with {shown}"
    return Check(name="versions", verdict="ok", found=found)


def check_token(environ: Mapping[str, str], *, has_file: bool, address: str | None) -> Check:
    """Checks that mode and token of Ray's authentication go together; no token is read."""
    mode, file = environ.get("RAY_AUTH_MODE", ""), environ.get("RAY_AUTH_TOKEN_PATH", "")
    if mode.lower() not in ("", "token", "disabled"):
        return Check(
            name="token",
            verdict="failed",
            found=f"RAY_AUTH_MODE must be token or disabled, got {mode!r}",
            cure="export RAY_AUTH_MODE=token, or =disabled for a cluster without authentication",
        )
    if file and not Path(file).expanduser().exists():
        return Check(
            name="token",
            verdict="failed",
            found=f"RAY_AUTH_TOKEN_PATH: there is nothing at {file}",
            cure=f"copy the head's {TOKEN_FILE} there, or unset RAY_AUTH_TOKEN_PATH",
        )
    sources = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if environ.get(name)]
    sources += [TOKEN_FILE] if has_file else []
    if address and mode.lower() == "token" and not sources:
        return Check(
            name="token",
            verdict="failed",
            found="RAY_AUTH_MODE=token, but there is no token",
            cure=f"copy {TOKEN_FILE} of the head to here, or export RAY_AUTH_MODE=disabled if the "
            "cluster has no authentication",
        )
    found = f"RAY_AUTH_MODE {mode or 'unset'}, token in {sources[0] if sources else 'no place'}"
    return Check(name="token", verdict="ok", found=found)


def _config_checks(config: ExperimentConfig) -> list[Check]:
    checks = [_check_data(config)]
    if _storage(config) in FILES:
        return checks
    folder = SearchFolder(root=Path(config.runs_dir).absolute() / config.name)
    return [*checks, check_database(folder, config.storage)]


def _check_data(config: ExperimentConfig) -> Check:
    try:
        check_data(config)
    except UserError as error:
        cure = "name other images, or write them anew; `rampart data check` finds unreadable ones"
        return Check(name="data", verdict="failed", found=str(error), cure=cure)
    found = f"{config.base.data.source}: training and test images are there"
    return Check(name="data", verdict="ok", found=found)


def _cluster_checks(
    config: ExperimentConfig | None, wanted: tuple[Requirement, ...], *, address: str | None
) -> list[Check]:
    names = tuple(one.name for one in wanted)
    question = Question(
        packages=names,
        folder=str(Path(config.runs_dir).absolute()) if config else "",
        paths=named_paths(config) if config else (),
    )
    try:
        from search.cluster.doctor import examine

        facts = examine(question, address=address)
    except ImportError as error:
        return [Check(name="Ray", verdict="failed", found=str(error), cure=INSTALL)]
    except UserError as error:
        found, _, cure = str(error).partition("\n")
        return [Check(name="Ray", verdict="failed", found=found, cure=cure)]
    where = f"joined at {address}" if address else "a local one starts"
    return [
        Check(name="Ray", verdict="ok", found=where),
        *node_checks(
            facts,
            here=installed(names),
            wanted=wanted,
            storage=_storage(config) if config else "",
            resources=config.resources if config else None,
        ),
    ]


def named_paths(config: ExperimentConfig) -> tuple[str, ...]:
    """Returns every file and folder that a trial or a full run of the search reads."""
    found = {
        value_at(trial, path)
        for _, trial in trials_to_check(config)
        for path in set(PATHS) & set(paths(trial.model_dump(mode="json")))
    }
    return tuple(sorted(found - {""}))


def _storage(config: ExperimentConfig) -> str:
    """Returns the storage, or what the variable holds that it is; no URL begins with one."""
    storage = config.storage
    return os.path.expandvars(storage) if storage.startswith("${") else storage
