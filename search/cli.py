"""The command line: `rampart COMMAND ...`, the same as `python -m search COMMAND ...`.

It names a config and overrides dotted paths; it never grows a flag per field. Exit codes: 0 done,
1 nothing to show for it, 2 a mistake in what was asked, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from models.config import Config, Layout
from search import commands, data_commands
from search.errors import NothingToShowError, UserError
from search.load import load_experiment
from search.overrides import parse_overrides
from search.recipes.page import recipe_page

_ADDRESS_HELP = "HOST:PORT of a Ray cluster that is already there; default: a local Ray"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    console = Console(highlight=False)
    arguments = _parse(argv)
    try:
        _run(arguments, console)
    except UserError as error:
        print(f"rampart: {error}", file=sys.stderr)
        return 2
    except NothingToShowError as error:
        print(f"rampart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"rampart: interrupted; {_way_on(arguments)}", file=sys.stderr)
        return 130
    return 0


def _run(arguments: argparse.Namespace, console: Console) -> None:
    match arguments.command:
        case "search":
            overrides = parse_overrides(arguments.overrides)
            experiment = load_experiment(Path(arguments.config), overrides)
            commands.search(experiment, address=arguments.address, console=console)
        case "resume":
            folder = commands.find_search(arguments.name)
            commands.resume(folder, address=arguments.address, console=console)
        case "promote":
            folder = commands.find_search(arguments.name)
            commands.promote(
                folder, top_k=arguments.top, address=arguments.address, console=console
            )
        case "status":
            commands.status(commands.find_search(arguments.name), console)
        case "report":
            commands.report(commands.find_search(arguments.name), console)
        case "recipe":
            console.print(recipe_page(arguments.name))
        case "models":
            from search.models_page import models_page

            console.print(models_page())
        case "cost":
            from search.cost_page import cost_page

            overrides = parse_overrides(arguments.overrides)
            console.print(cost_page(load_experiment(Path(arguments.config), overrides)))
        case "export":
            checkpoint, file = Path(arguments.checkpoint), Path(arguments.file)
            commands.export(checkpoint, file, arguments.layout, console)
        case "data":
            _run_data(arguments, console)
        case _:
            overrides = parse_overrides(arguments.overrides)
            commands.evaluate(Path(arguments.checkpoint), overrides, console)


def _run_data(arguments: argparse.Namespace, console: Console) -> None:
    overrides = parse_overrides(arguments.overrides)
    source = Path(arguments.source).absolute()
    if arguments.action == "pack":
        dest = Path(arguments.dest).absolute()
        data_commands.pack_source(source, dest, overrides, console=console)
    else:
        data_commands.check_source(source, overrides, console=console)


def _way_on(arguments: argparse.Namespace) -> str:
    if arguments.command != "data":
        return "`rampart resume NAME` goes on from here"
    if arguments.action == "pack":
        return "the same command goes on where it stopped"
    return "the same command begins again"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the arguments; overrides may also follow an option, which argparse alone refuses."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(r.startswith("-") for r in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rampart",
        description="Search over recipes and architectures for adversarial training.",
        epilog="example: rampart search search/configs/demo.yaml name=mine budget.trials=20",
    )
    commands_ = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = _command(
        commands_,
        "search",
        "run a new search, then promote its best trial",
        "rampart search search/configs/demo.yaml name=mine budget.trials=20",
    )
    _add_config(add)
    add.add_argument("--address", help=_ADDRESS_HELP)

    add = _command(
        commands_, "resume", "go on with a search that was interrupted", "rampart resume demo"
    )
    _add_name(add)
    add.add_argument("--address", help=_ADDRESS_HELP)

    add = _command(
        commands_, "status", "show the trials of a search, running or not", "rampart status demo"
    )
    _add_name(add)

    add = _command(
        commands_,
        "promote",
        "train and evaluate the best trials at full scale",
        "rampart promote demo --top 3",
    )
    _add_name(add)
    add.add_argument("--top", type=int, default=1, metavar="K", help="how many (default: 1)")
    add.add_argument("--address", help=_ADDRESS_HELP)

    add = _command(
        commands_,
        "evaluate",
        "run the reference AutoAttack on a checkpoint",
        "rampart evaluate runs/demo/promoted/default images=120",
    )
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trial or a full run")
    add.add_argument("overrides", nargs="*", metavar="field=value", help="images, batch_size, seed")

    add = _command(
        commands_,
        "export",
        "write the weights of a checkpoint for others to load",
        "rampart export runs/demo/promoted/default model.safetensors timm",
    )
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trial or a full run")
    add.add_argument("file", metavar="FILE", help="*.safetensors for rampart and timm, else *.pt")
    add.add_argument("layout", choices=get_args(Layout), help="whose names the weights get")

    add = _command(commands_, "report", "write tables and report anew", "rampart report demo")
    _add_name(add)

    add = _command(
        commands_, "recipe", "show a published recipe, or list all", "rampart recipe light"
    )
    add.add_argument("name", nargs="?", metavar="NAME", help="of the recipe; without it, the list")

    _command(commands_, "models", "list the models, their size and their fields", "rampart models")

    add = _command(
        commands_,
        "cost",
        "show what the models of an experiment cost, before anything runs",
        "rampart cost search/configs/demo.yaml constraints.params_m=[0.05,0.2]",
    )
    _add_config(add)
    _add_data(commands_)
    return parser


def _add_data(
    commands_: "argparse._SubParsersAction[argparse.ArgumentParser]",  # pyright: ignore[reportPrivateUsage]
) -> None:
    example = "rampart data pack imagenet/train packed/train workers=16"
    add = _command(commands_, "data", "pack images for fast training, or check them", example)
    actions = add.add_subparsers(dest="action", required=True, metavar="ACTION")
    what = "put all images of a source into one file, or go on with it"
    add = _command(actions, "pack", what, example)
    _add_source(add)
    add.add_argument("dest", metavar="DEST", help="new folder")
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="field=value",
        help=f"{_fields(data_commands.PACK)}: greatest short side, quality of the images that are "
        "shrunk to it, share of unreadable ones that may be left out, processes",
    )
    what = "find the images that training could not read; exits with 1 if there are any"
    add = _command(actions, "check", what, "rampart data check packed/train workers=16")
    _add_source(add)
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="field=value",
        help=f"{_fields(data_commands.CHECK)}: processes",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    kinds = "folder of CLASS/IMAGE.jpg files, packed data set, or parquet shards"
    parser.add_argument("source", metavar="SOURCE", help=f"one split: {kinds}")


def _fields(config: Config) -> str:
    return " ".join(f"{name}={value}" for name, value in config.model_dump().items())


def _command(
    commands_: "argparse._SubParsersAction[argparse.ArgumentParser]",  # pyright: ignore[reportPrivateUsage]
    name: str,
    what: str,
    example: str,
) -> argparse.ArgumentParser:
    return commands_.add_parser(
        name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=f"example: {example}"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help="the experiment")
    parser.add_argument("overrides", nargs="*", metavar="dotted.path=value", help="changes to it")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name under runs/, or the folder's path")


if __name__ == "__main__":
    sys.exit(main())
