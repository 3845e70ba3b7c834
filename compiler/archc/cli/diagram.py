"""`archc diagram`."""

from __future__ import annotations

import argparse
from pathlib import Path

from archc.cli.commands import Parser, add_spec, load_one

KINDS = ("dot", "svg", "png", "pdf")


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "diagram",
        "  archc diagram specs/vgg_e.arch                   writes vgg_e.svg\n"
        "  archc diagram specs/vgg.arch --column D -o d.pdf\n"
        "  archc diagram specs/lenet5.arch -o - > lenet5.dot",
    )
    add_spec(made)
    made.add_argument("--view", choices=("graph",), default="graph", help="what is drawn")
    made.add_argument(
        "-o", "--output", metavar="FILE", help=f"ends in {', '.join('.' + kind for kind in KINDS)}; `-` prints DOT"
    )
    return made


def run(options: argparse.Namespace) -> int:
    """Draw one network."""
    from archc.diagnostics import Diagnostic, Refusal, did_you_mean
    from archc.files import refuse_overwriting, write_bytes

    network = load_one(options)
    if options.output == "-":
        print(network.dot(), end="")
        return 0
    path = Path(options.output or f"{network.stem}.svg")
    kind = path.suffix[1:].lower()
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"end the name in {', '.join('.' + known for known in KINDS)}"
        raise Refusal([Diagnostic("A0617", f"`{path}` says no kind of picture", help=hint)], status=2)
    refuse_overwriting(path, [options.spec])
    write_bytes(path, network.dot().encode() if kind == "dot" else network.diagram(kind))  # type: ignore[arg-type]
    print(path)
    return 0
