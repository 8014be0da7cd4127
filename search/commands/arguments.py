"""The arguments of the command line: it names things and overrides dotted paths."""

import argparse
from collections.abc import Sequence
from typing import get_args

from evaluation.analyses.config import KINDS
from evaluation.protocols import NAMES, TRAINED
from models.config import Config, Layout
from models.named import Stem
from search.commands import data
from search.commands.search_arguments import ADDRESS, Commands, add_config, add_searches, command


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the arguments; overrides may also follow an option, which argparse alone refuses."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "overrides") or any(r.startswith("-") for r in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.overrides += rest
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="rampart",
        description="Search over recipes and architectures for adversarial training.",
        epilog="example: rampart search search/configs/demo.yaml name=mine budget.trials=20",
    )
    commands_ = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add_searches(commands_)
    _add_checkpoints(commands_)
    _add_pages(commands_)
    _add_data(commands_)
    return parser


def _add_checkpoints(commands_: Commands) -> None:
    add = command(
        commands_,
        "evaluate",
        "attack a checkpoint with AutoAttack, under a protocol",
        "rampart evaluate runs/demo/promoted/default images=120",
    )
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trial or a full run")
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="field=value",
        help="images, resolution, version, attacks, batch_size, precision, compile, seed",
    )
    add.add_argument(
        "--protocol",
        default=TRAINED,
        metavar="NAME",
        help=f"one of {', '.join(NAMES)} (default: trained, the checkpoint's own)",
    )
    add.add_argument(
        "--engine",
        choices=("rampart", "pyautoattack"),
        default="rampart",
        metavar="NAME",
        help="rampart, which is faster (default), or pyautoattack, the reference",
    )
    add.add_argument(
        "--shards", type=int, default=0, metavar="N", help="default: one for each GPU or core"
    )
    add.add_argument(
        "--data", default="", metavar="DIR", help="ImageNet's validation images, if moved"
    )
    add.add_argument("--address", help=ADDRESS)

    add = command(
        commands_,
        "analyse",
        "find out what a checkpoint's robustness is made of",
        "rampart analyse runs/demo/promoted/default eps_curve images=120",
    )
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trial or a full run")
    kinds = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    add.add_argument("kind", metavar="KIND", help=kinds)
    add.add_argument("overrides", nargs="*", metavar="field=value", help="the kind's own settings")

    add = command(
        commands_,
        "compare",
        "compare two evaluations image by image, or two searches",
        "rampart compare runs/demo/promoted/t00012 runs/demo/promoted/default",
    )
    help_ = "a result.json, the folder that holds it, or a search by its name or folder"
    add.add_argument("first", metavar="A", help=help_)
    add.add_argument("second", metavar="B", help=help_)

    add = command(
        commands_,
        "export",
        "write the weights of a checkpoint for others to load",
        "rampart export runs/demo/promoted/default model.safetensors timm",
    )
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="folder of a trial or a full run")
    add.add_argument("file", metavar="FILE", help="*.safetensors for rampart and timm, else *.pt")
    add.add_argument("layout", choices=get_args(Layout), help="whose names the weights get")


def _add_pages(commands_: Commands) -> None:
    add = command(
        commands_,
        "recipe",
        "show a published recipe, list all, or print a run with one",
        "rampart recipe light_finetuning search/configs/train.yaml trial.epochs=30 > tuned.yaml",
    )
    add.add_argument("name", nargs="?", metavar="NAME", help="of the recipe; without it, the list")
    help_ = "a run of `rampart train`: printed with the recipe's values"
    add.add_argument("config", nargs="?", metavar="CONFIG.yaml", help=help_)
    help_ = "changes to it, after the recipe's"
    add.add_argument("overrides", nargs="*", metavar="dotted.path=value", help=help_)

    add = command(
        commands_,
        "models",
        "list the models, their size and their fields, or print the section of one",
        "rampart models convnext_tiny conv",
    )
    help_ = "of a model, or timm/NAME; without it, the list"
    add.add_argument("name", nargs="?", metavar="NAME", help=help_)
    help_ = "own: as published (default)"
    add.add_argument("stem", nargs="?", choices=get_args(Stem), default="own", help=help_)

    add = command(
        commands_,
        "cost",
        "show what the models of an experiment cost, before anything runs",
        "rampart cost search/configs/demo.yaml constraints.params_m=[0.05,0.2]",
    )
    add_config(add)


def _add_data(commands_: Commands) -> None:
    example = "rampart data pack imagenet/train packed/train workers=16"
    add = command(commands_, "data", "pack images for fast training, or check them", example)
    actions = add.add_subparsers(dest="action", required=True, metavar="ACTION")
    what = "put all images of a source into one file, or go on with it"
    add = command(actions, "pack", what, example)
    _add_source(add)
    add.add_argument("dest", metavar="DEST", help="new folder")
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="field=value",
        help=f"{_fields(data.PACK)}: greatest short side, quality of the images that are "
        "shrunk to it, share of unreadable ones that may be left out, processes",
    )
    what = "find the images that training could not read; exits with 1 if there are any"
    add = command(actions, "check", what, "rampart data check packed/train workers=16")
    _add_source(add)
    add.add_argument(
        "overrides",
        nargs="*",
        metavar="field=value",
        help=f"{_fields(data.CHECK)}: processes",
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    kinds = "folder of CLASS/IMAGE.jpg files, packed data set, or parquet shards"
    parser.add_argument("source", metavar="SOURCE", help=f"one split: {kinds}")


def _fields(config: Config) -> str:
    return " ".join(f"{name}={value}" for name, value in config.model_dump().items())
