"""`archc diagram`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_spec, load_each
from archc.cli.pages import USUAL, add_page, known, no_picture
from archc.diagnostics import Diagnostic, Refusal

if TYPE_CHECKING:
    from archc.diagram.views import Look, View
    from archc.ir import Graph
    from archc.network import Network

VIEW_NAMES = ("graph", "volumes", "table", "chart")
SCALES = ("sqrt", "log", "linear")
"""Written here so that help and completion need load no view; a test holds them against those."""
SUFFIXES = ("svg", "png", "pdf", "dot", "md", "tex", "html")
LEGIBLE = 14
"""Pixels of the smallest words that can be read from a seat in the middle, on a page of 1920×1080."""


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "diagram",
        "  archc diagram specs/vgg_e.arch                                writes vgg_e.svg\n"
        "  archc diagram specs/resnet.arch --column 50 --depth 2 -o resnet50.png\n"
        "  archc diagram specs/alexnet.arch --view volumes --kernels -o alexnet.pdf\n"
        "  archc diagram specs/vgg.arch --view table -o vgg.tex\n"
        "  archc diagram specs/googlenet.arch --view chart --theme dark -o cost.png\n"
        "  archc diagram specs/vgg.arch --view table -o -                prints Markdown",
    )
    add_spec(made, several=True)
    made.add_argument(
        "--view", choices=VIEW_NAMES, type=known(VIEW_NAMES, "view"), default="graph", help="what is drawn"
    )
    made.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="ends in .svg, .png or .pdf; a graph also in .dot, a table in .md, .tex or .html; `-` prints the text",
    )
    add_page(made)
    made.add_argument(
        "--scale", choices=SCALES, type=known(SCALES, "scale"), help="how sides become lengths in volumes (sqrt)"
    )
    made.add_argument("--kernels", action="store_true", help="the first layer's kernel on the input, in volumes")
    made.add_argument("--brackets", action="store_true", help="blocks in brackets, as in ResNet's table, in .tex")
    return made


def run(options: argparse.Namespace) -> int:
    """Draw one network, or a table of several."""
    from archc.diagram.views import VIEWS, Look, describe, draw
    from archc.files import refuse_overwriting, write_bytes

    view = VIEWS[options.view]
    suffix = _suffix(options, view)
    look = Look(
        options.theme,
        options.size,
        options.depth,
        options.scale,
        options.kernels,
        options.brackets,
    )
    _refuse_idle(options, view, look, suffix)
    networks = _networks(options, view)
    graphs = [network.graph for network in networks]
    if options.output == "-":
        text = describe(suffix, graphs, look) if suffix in view.texts else draw(options.view, graphs, look).svg
        sys.stdout.write(text)
        return 0
    path = Path(options.output or f"{_stem(options, networks)}.svg")
    refuse_overwriting(path, options.spec)
    write_bytes(path, _written(options, graphs, suffix, look))
    print(path)
    return 0


def _written(options: argparse.Namespace, graphs: Sequence[Graph], suffix: str, look: Look) -> bytes:
    """The bytes of the file; a picture whose words are too small to be read is written, and said to be so."""
    from archc.diagram.picture import FORMATS
    from archc.diagram.views import VIEWS, draw, write

    if suffix not in FORMATS:
        return write(options.view, graphs, suffix, look)
    picture = draw(options.view, graphs, look)
    if picture.smallest < LEGIBLE - 0.01:
        remedy = "; `--depth 1` folds more" if "depth" in VIEWS[options.view].options and options.depth != 1 else ""
        small = f"{picture.smallest:.0f} of 1080 pixels"
        print(f"archc: the smallest words are {small} high, too small for a slide{remedy}", file=sys.stderr)
    return picture.render(suffix)


def _suffix(options: argparse.Namespace, view: View) -> str:
    """What kind of file is asked for, in lower case and without the dot."""
    if options.output is None:
        return "svg"
    if options.output == "-":
        return view.texts[0] if view.texts else "svg"
    suffix = Path(options.output).suffix[1:].lower()
    if suffix in view.suffixes:
        return suffix
    if suffix not in SUFFIXES:
        raise no_picture(options.output, suffix, view.suffixes)
    message = f"the view `{options.view}` is no `.{suffix}`"
    ends = ", ".join("." + each for each in view.suffixes)
    raise Refusal([Diagnostic("A0617", message, help=f"its files end in {ends}")], status=2)


def _refuse_idle(options: argparse.Namespace, view: View, look: Look, suffix: str) -> None:
    """Refuse options that would do nothing."""
    from archc.diagram.views import refuse_idle

    refuse_idle(options.view, look)
    if options.brackets and suffix != "tex":
        raise _idle("`--brackets` says nothing of this file", "it is for LaTeX: `-o table.tex`")
    if suffix in view.texts:
        for name, usual in (("theme", "light"), ("size", USUAL)):
            if getattr(options, name) != usual:
                raise _idle(f"`--{name}` says nothing of `.{suffix}`", "it is for pictures: .svg, .png and .pdf")


def _idle(message: str, help: str) -> Refusal:
    return Refusal([Diagnostic("A0619", message, help=help)], status=2)


def _networks(options: argparse.Namespace, view: View) -> tuple[Network, ...]:
    networks = load_each(options)
    if len(networks) == 1 or view.several:
        return networks
    if len(options.spec) > 1:
        message = f"{len(options.spec)} files are given, and this view shows one network"
        raise Refusal([Diagnostic("A0212", message, help="`--view table` puts several side by side")], status=2)
    names = ", ".join(network.graph.column for network in networks)
    message = f"`{options.spec[0]}` is a table of {len(networks)} networks, and this needs one"
    help = f"choose a column with `--column`: {names}; or draw them all with `--view table`"
    raise Refusal([Diagnostic("A0212", message, help=help)], status=2)


def _stem(options: argparse.Namespace, networks: Sequence[Network]) -> str:
    """The name of the file without its kind: that of the network, or of the table's file."""
    from archc.build import file_stem

    if len(networks) == 1:
        stem = networks[0].stem
    else:
        stem = file_stem(Path(options.spec[0]).stem) if len(options.spec) == 1 else "networks"
    return stem if options.view == "graph" else f"{stem}_{options.view}"
