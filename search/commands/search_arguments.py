"""The arguments of the commands that plan, run and show searches."""

import argparse
from typing import TypeAlias, get_args

from search.promotion.config import Rule

ADDRESS = "HOST:PORT of a Ray cluster that is already there; default: a local Ray"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # pyright: ignore[reportPrivateUsage]


def add_searches(commands_: Commands) -> None:
    """Adds all of them."""
    _add_plans(commands_)
    _add_runs(commands_)
    _add_promote(commands_)
    _add_views(commands_)


def command(commands_: Commands, name: str, what: str, example: str) -> argparse.ArgumentParser:
    """Adds one command."""
    return commands_.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"example: {example}"
    )


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds an experiment and overrides."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="the experiment")
    parser.add_argument("overrides", nargs="*", metavar="dotted.path=value", help="changes to it")


def add_name(parser: argparse.ArgumentParser) -> None:
    """Adds the name of a search."""
    parser.add_argument("name", metavar="NAME", help="name under runs/, or the folder's path")


def _add_plans(commands_: Commands) -> None:
    add = command(
        commands_,
        "doctor",
        "check what usually breaks, here and on every node, and name the cure",
        "rampart doctor search/configs/demo.yaml --address 10.0.0.1:6379",
    )
    add.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="an experiment to check for")
    add.add_argument("overrides", nargs="*", metavar="dotted.path=value", help="changes to it")
    add.add_argument("--address", help=ADDRESS)

    add = command(
        commands_,
        "plan",
        "show the space, what its ends cost and what the budget buys, before anything is spent",
        "rampart plan search/configs/demo.yaml budget.trials=40",
    )
    add_config(add)
    add.add_argument("--no-timing", action="store_true", help="measure no training step here")


def _add_runs(commands_: Commands) -> None:
    add = command(
        commands_,
        "search",
        "run a new search, then promote its best trial",
        "rampart search search/configs/demo.yaml name=mine budget.trials=20",
    )
    add_config(add)
    add.add_argument("--address", help=ADDRESS)

    add = command(
        commands_,
        "resume",
        "go on with a search, to its budget or beyond it",
        "rampart resume demo --add-budget trials=10 --retry-failed",
    )
    add_name(add)
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="dotted.path=value",
        help="changes that leave its trials comparable: of budget, resources, promotion, ...",
    )
    add.add_argument(
        "--add-budget",
        action="append",
        default=[],
        metavar="CAP=MORE",
        help="added to a cap: trials, hours, device_hours or spend; may be given again",
    )
    help_ = "try the samples of failed trials again, as new trials"
    add.add_argument("--retry-failed", action="store_true", help=help_)
    help_ = "run trials beside the process that works on it"
    add.add_argument("--join", action="store_true", help=help_)
    add.add_argument("--address", help=ADDRESS)

    add = command(
        commands_,
        "train",
        "train one config alone, or go on with it",
        "rampart train search/configs/train.yaml name=mine trial.epochs=20",
    )
    add.add_argument("config", metavar="CONFIG.yaml", help="the run")
    add.add_argument("overrides", nargs="*", metavar="dotted.path=value", help="changes to it")
    add.add_argument("--resume", action="store_true", help="go on from its last checkpoint")
    add.add_argument("--address", help=ADDRESS)


def _add_promote(commands_: Commands) -> None:
    add = command(
        commands_,
        "promote",
        "train and evaluate the best trials at full scale",
        "rampart promote demo --rule pareto --top 3 --seeds 3",
    )
    add_name(add)
    help_ = "the number of a trial, whatever the rule says; may be given again"
    add.add_argument("--trial", type=int, action="append", default=[], metavar="N", help=help_)
    help_ = f"one of {', '.join(get_args(Rule))}"
    add.add_argument("--rule", choices=get_args(Rule), metavar="RULE", help=help_)
    add.add_argument("--top", type=int, metavar="K", help="at most so many")
    add.add_argument("--seeds", type=int, metavar="N", help="full runs of each")
    add.add_argument("--address", help=ADDRESS)


def _add_views(commands_: Commands) -> None:
    what = "show the trials of a search, running or not"
    add_name(command(commands_, "status", what, "rampart status demo"))
    what = "write tables and report anew, and say how far trials can be trusted"
    add_name(command(commands_, "report", what, "rampart report demo"))
    what = "serve Optuna's dashboard of a search, live"
    add = command(commands_, "dashboard", what, "rampart dashboard demo --port 8080")
    add_name(add)
    add.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
