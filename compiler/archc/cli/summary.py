"""`archc summary`."""

from __future__ import annotations

import argparse
import json
import sys

from archc.cli.commands import Parser, add_spec, load_networks, whole_number
from archc.cli.terminal import width


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "summary",
        "  archc summary specs/vgg_e.arch\n"
        "  archc summary specs/vgg.arch --column D --csv > vgg_d.csv\n"
        "  archc summary specs/lenet5.arch --tensors\n"
        "  archc summary specs/densenet.arch --column 121 --depth 2",
    )
    add_spec(made)
    made.add_argument(
        "--depth",
        metavar="N",
        type=whole_number,
        default=0,
        help="groups and blocks N steps down in one row each, with their totals (0: all rows)",
    )
    kinds = made.add_mutually_exclusive_group()
    for kind, text in (
        ("json", "print JSON for programs"),
        ("csv", "print a table for a spreadsheet"),
        ("tensors", "list every tensor: shape, size, how it begins"),
    ):
        kinds.add_argument(f"--{kind}", dest="format", action="store_const", const=kind, help=text)
    made.set_defaults(format="text")
    return made


def run(options: argparse.Namespace) -> int:
    """Print the numbers of every network asked for."""
    from archc.cost.records import tensors, to_csv

    networks = load_networks(options)
    if options.format == "json":
        numbers = [network.to_json() for network in networks]
        print(json.dumps(numbers[0] if len(numbers) == 1 else numbers, indent=1, ensure_ascii=False))
        return 0
    texts = []
    for network in networks:
        match options.format:
            case "csv":
                texts.append(to_csv(network.analysis))
            case "tensors":
                texts.append(tensors(network.graph))
            case _:
                texts.append(network.summary(width(), options.depth))
    sys.stdout.write("\n".join(text.rstrip("\n") + "\n" for text in texts))
    return 0
