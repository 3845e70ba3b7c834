"""`archc explain`."""

from __future__ import annotations

import argparse

from archc.cli.commands import Parser, add_spec, load_networks


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "explain",
        "  archc explain specs/lenet5.arch\n"
        "  archc explain specs/vgg_e.arch --layer features.0\n"
        "  archc explain --layers                      every layer of the language",
    )
    add_spec(made)
    spec = next(action for action in made._actions if action.dest == "spec")
    spec.nargs = "?"
    made.add_argument("--layer", metavar="NAME", help="one layer, by its name in the summary")
    made.add_argument("--layers", action="store_true", help="list the layers of the language and how they are written")
    return made


def run(options: argparse.Namespace) -> int:
    """Print the arithmetic, or the catalogue of layers."""
    if options.layers:
        print(catalogue())
        return 0
    if options.spec is None:
        parser().error("the following arguments are required: SPEC")
    networks = load_networks(options)
    print("\n\n".join(network.explain(options.layer) for network in networks))
    return 0


def catalogue() -> str:
    """Every layer: how it is written and what it does."""
    from archc.ops import OPS
    from archc.ops.declare import signature

    entries = []
    for op in OPS:
        what = " ".join((op.__doc__ or "").split())
        entries.append(f"{signature(op)}\n    {what.replace('`', '')}")
    return "\n".join(entries)
