"""`archc diagram`."""

from __future__ import annotations

import argparse
from pathlib import Path

from archc.cli.commands import Parser, add_spec, load_one, whole_number

KINDS = ("dot", "svg", "png", "pdf")


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "diagram",
        "  archc diagram specs/vgg_e.arch                   writes vgg_e.svg\n"
        "  archc diagram specs/vgg.arch --column D -o d.pdf\n"
        "  archc diagram specs/resnet.arch --column 50 --depth 2 -o resnet50.png\n"
        "  archc diagram specs/lenet5.arch -o - > lenet5.dot",
    )
    add_spec(made)
    made.add_argument("--view", choices=("graph",), default="graph", help="what is drawn")
    made.add_argument(
        "--depth",
        metavar="N",
        type=_depth,
        help="draw what stands in N - 1 other groups or blocks as one box; as deep as a slide can show unless said",
    )
    made.add_argument(
        "-o", "--output", metavar="FILE", help=f"ends in {', '.join('.' + kind for kind in KINDS)}; `-` prints DOT"
    )
    return made


def _depth(text: str) -> int:
    depth = whole_number(text)
    if depth < 1:
        raise argparse.ArgumentTypeError("depth 1 is the top, where every group and block is one box")
    return depth


def run(options: argparse.Namespace) -> int:
    """Draw one network."""
    from archc.diagnostics import Diagnostic, Refusal, did_you_mean
    from archc.diagram.graph import dot
    from archc.diagram.render import render
    from archc.files import refuse_overwriting, write_bytes

    network = load_one(options)
    if options.output == "-":
        print(dot(network.graph, options.depth), end="")
        return 0
    path = Path(options.output or f"{network.stem}.svg")
    kind = path.suffix[1:].lower()
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"end the name in {', '.join('.' + known for known in KINDS)}"
        raise Refusal([Diagnostic("A0617", f"`{path}` says no kind of picture", help=hint)], status=2)
    refuse_overwriting(path, [options.spec])
    text = dot(network.graph, options.depth)
    write_bytes(path, text.encode() if kind == "dot" else render(text, kind))  # type: ignore[arg-type]
    print(path)
    return 0
