"""`archc explain`."""

from __future__ import annotations

import argparse

from archc.cli.commands import Parser, add_spec, load_networks
from archc.diagnostics import Diagnostic, Refusal, did_you_mean
from archc.network import Network


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "explain",
        "  archc explain specs/lenet5.arch\n"
        "  archc explain specs/vgg_e.arch features.0\n"
        "  archc explain specs/resnet.arch --column 50 layer1.0      one block, with its sums\n"
        "  archc explain --layers                      every layer of the language",
    )
    add_spec(made)
    spec = next(action for action in made._actions if action.dest == "spec")
    spec.nargs = "?"
    made.add_argument("part", metavar="NAME", nargs="?", default="", help="one layer, group, block or head by its name")
    made.add_argument("--layer", metavar="NAME", default="", help="the same")
    made.add_argument("--layers", action="store_true", help="list the layers of the language and how they are written")
    return made


def run(options: argparse.Namespace) -> int:
    """Print the arithmetic, or the catalogue of layers."""
    if options.layers:
        print(catalogue())
        return 0
    if options.spec is None:
        parser().error("the following arguments are required: SPEC")
    if options.part and options.layer:
        parser().error("name one layer: NAME and --layer say the same")
    networks = load_networks(options)
    print("\n\n".join(_explained(network, options.part or options.layer) for network in networks))
    return 0


def _explained(network: Network, layer: str) -> str:
    try:
        return network.explain(layer)
    except KeyError:
        names = [node.name for node in network.graph.trained] + [scope.path for scope in network.graph.scopes]
        message = f"{network.name} has no layer or block `{layer}`"
        as_deep = [name for name in names if name.count(".") == layer.count(".")]
        remedy = did_you_mean(layer, as_deep) or did_you_mean(layer, names)
        remedy = remedy or "`archc summary` names them; in a block, `BLOCK.LAYER`"
        raise Refusal([Diagnostic("A0208", message, help=remedy)], status=2) from None


def catalogue() -> str:
    """Every layer: how it is written and what it does."""
    from archc.ops import OPS
    from archc.ops.declare import signature

    entries = []
    for op in OPS:
        what = " ".join((op.__doc__ or "").split())
        entries.append(f"{signature(op)}\n    {what.replace('`', '')}")
    return "\n".join(entries)
