"""The command line: `rampart COMMAND ...`, the same as `python -m search COMMAND ...`.

It names a config and overrides dotted paths; it never grows a flag per field. Exit codes: 0 done,
1 nothing to show for it, 2 a mistake in what was asked, 130 interrupted, 143 terminated.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from search.commands import data, searches
from search.commands.analyse import analyse
from search.commands.arguments import parse
from search.commands.evaluate import evaluate
from search.commands.export import export
from search.errors import NothingToShowError, UserError
from search.load import dump_config, load_experiment, load_training, with_recipe
from search.overrides import parse_overrides
from search.places import find_search
from search.recipes.page import recipe_page


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    console = Console(highlight=False)
    arguments = parse(argv)
    terminated: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        """A batch system wants its machine back: all that Ctrl-C ends, this ends, too."""
        del frame
        terminated.append(number)
        raise KeyboardInterrupt  # no class of ours: Ray would raise its parent in its place

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        _run(arguments, console)
    except UserError as error:
        print(f"rampart: {error}", file=sys.stderr)
        return 2
    except NothingToShowError as error:
        print(f"rampart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        what, code = ("terminated", 143) if terminated else ("interrupted", 130)
        print(f"rampart: {what}; {_way_on(arguments)}", file=sys.stderr)
        return code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _run(arguments: argparse.Namespace, console: Console) -> None:
    match arguments.command:
        case "search":
            overrides = parse_overrides(arguments.overrides)
            experiment = load_experiment(Path(arguments.config), overrides)
            searches.search(experiment, address=arguments.address, console=console)
        case "plan" | "doctor":
            _run_plan(arguments, console)
        case "resume":
            _run_resume(arguments, console)
        case "promote":
            _run_promote(arguments, console)
        case "train":
            overrides = parse_overrides(arguments.overrides)
            config = load_training(Path(arguments.config), overrides)
            from search.commands.train import train  # imports Ray

            train(
                config,
                is_resumed=arguments.resume,
                address=arguments.address,
                console=console,
            )
        case "status":
            searches.status(find_search(arguments.name), console)
        case "report":
            searches.report(find_search(arguments.name), console)
        case "recipe":
            _run_recipe(arguments, console)
        case "models":
            from search.commands.models_page import models_page, named_yaml

            if arguments.name is None:
                console.print(models_page())
            else:
                section = named_yaml(arguments.name, stem=arguments.stem)
                console.out(section, highlight=False, end="")
        case "cost":
            from search.plan.cost_page import cost_page

            overrides = parse_overrides(arguments.overrides)
            console.print(cost_page(load_experiment(Path(arguments.config), overrides)))
        case "dashboard":
            from search.live.dashboard import dashboard

            dashboard(find_search(arguments.name), port=arguments.port, console=console)
        case "compare":
            console.print(searches.compare(arguments.first, arguments.second))
        case "export":
            checkpoint, file = Path(arguments.checkpoint), Path(arguments.file)
            export(checkpoint, file, arguments.layout, console)
        case "data":
            _run_data(arguments, console)
        case "analyse":
            overrides = parse_overrides(arguments.overrides)
            analyse(Path(arguments.checkpoint), arguments.kind, overrides, console)
        case _:
            evaluate(arguments, console)


def _run_plan(arguments: argparse.Namespace, console: Console) -> None:
    overrides = parse_overrides(arguments.overrides)
    path = arguments.config
    experiment = None if path is None else load_experiment(Path(path), overrides)
    if arguments.command == "doctor":
        from search.doctor.examine import doctor

        doctor(experiment, address=arguments.address, console=console)
    elif experiment is not None:
        from search.plan.page import plan_page

        console.print(plan_page(experiment, with_timing=not arguments.no_timing))


def _run_resume(arguments: argparse.Namespace, console: Console) -> None:
    folder = find_search(arguments.name)
    overrides, added = parse_overrides(arguments.overrides), parse_overrides(arguments.add_budget)
    if arguments.join:
        if overrides or added or arguments.retry_failed:
            raise UserError("--join goes on with the search as it is; leave the other changes out")
        searches.join(folder, address=arguments.address, console=console)
        return
    searches.resume(
        folder,
        overrides=overrides,
        added=added,
        retries_failed=arguments.retry_failed,
        address=arguments.address,
        console=console,
    )


def _run_promote(arguments: argparse.Namespace, console: Console) -> None:
    asked = {"rule": arguments.rule, "top_k": arguments.top, "seeds": arguments.seeds}
    searches.promote(
        find_search(arguments.name),
        changes={name: value for name, value in asked.items() if value is not None},
        trials=tuple(arguments.trial),
        address=arguments.address,
        console=console,
    )


def _run_recipe(arguments: argparse.Namespace, console: Console) -> None:
    if arguments.config is None:
        console.print(recipe_page(arguments.name))
    else:
        overrides = parse_overrides(arguments.overrides)
        config = with_recipe(arguments.name, Path(arguments.config), overrides)
        console.out(dump_config(config), highlight=False, end="")


def _run_data(arguments: argparse.Namespace, console: Console) -> None:
    overrides = parse_overrides(arguments.overrides)
    source = Path(arguments.source).absolute()
    if arguments.action == "pack":
        dest = Path(arguments.dest).absolute()
        data.pack_source(source, dest, overrides, console=console)
    else:
        data.check_source(source, overrides, console=console)


def _way_on(arguments: argparse.Namespace) -> str:
    if arguments.command == "train":
        return "the same command with --resume goes on from the last checkpoint"
    if arguments.command == "analyse":
        return "the same command begins again"
    if arguments.command in ("evaluate", "promote"):
        return "the same command goes on from here"
    if arguments.command in ("search", "resume"):
        return "`rampart resume NAME` goes on from here"
    if arguments.command != "data":
        return "the same command begins again"
    if arguments.action == "pack":
        return "the same command goes on where it stopped"
    return "the same command begins again"


if __name__ == "__main__":
    sys.exit(main())
