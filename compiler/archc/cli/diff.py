"""`archc diff`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_json
from archc.cli.pages import add_page, page_suffix, refuse_page
from archc.diagnostics import Diagnostic, Refusal

if TYPE_CHECKING:
    from archc.network import Network


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "diff",
        "  archc diff specs/vgg_d.arch specs/vgg_e.arch\n"
        "  archc diff specs/vgg.arch:A :B                       two columns of one table\n"
        "  archc diff specs/resnet.arch:34 :50 -o resnets.svg   the text, and a picture\n"
        "  archc diff specs/lenet5.arch mine.arch --json",
    )
    for name in ("before", "after"):
        made.add_argument(name, metavar=name.upper(), help="an `.arch` file; `FILE:COLUMN` of a table")
    made.add_argument("-o", "--output", metavar="FILE", help="draw it, too: ends in .svg, .png or .pdf")
    add_page(made)
    add_json(made)
    return made


def run(options: argparse.Namespace) -> int:
    """Say what differs between two networks, and draw it if asked."""
    from archc.cost.difference import compare
    from archc.cost.difference_report import render, to_json
    from archc.files import refuse_overwriting, write_bytes

    if options.output is None:
        refuse_page(options, "`-o FILE` draws the difference")
    suffix = page_suffix(options.output or "none.svg")
    one = _place(options.before, "")
    two = _place(options.after, one[0])
    before, after = (_network(*place) for place in (one, two))
    comparison = compare(before.graph, after.graph)
    if options.output is not None:
        from archc.diagram.difference import diff_picture
        from archc.diagram.theme import THEMES

        refuse_overwriting(options.output, [one[0], two[0]])
        drawn = diff_picture(before.graph, after.graph, THEMES[options.theme], options.size, options.depth)
        write_bytes(Path(options.output), drawn.render(suffix))
    if options.format == "json":
        print(json.dumps(to_json(comparison), indent=1, ensure_ascii=False))
        return 0
    sys.stdout.write(render(comparison))
    if options.output is not None:
        print(options.output, file=sys.stderr)
    return 0


def _place(text: str, same: str) -> tuple[str, str | None]:
    """The file and the column of `FILE`, `FILE:COLUMN`, or `:COLUMN` of the file named before."""
    file, colon, column = text.rpartition(":")
    if not colon or Path(text).exists() or not column:
        return text, None
    if not file and not same:
        message = f"`{text}` is a column of the file before it, and there is none"
        raise Refusal([Diagnostic("A0212", message, help="write `FILE:COLUMN`")], status=2)
    return file or same, column


def _network(file: str, column: str | None) -> Network:
    from archc.cli.terminal import report
    from archc.network import load_all

    settings: Mapping[str, object] = {}
    networks = load_all(file, column, settings)
    if len(networks) > 1:
        names = ", ".join(network.graph.column for network in networks)
        message = f"`{file}` is a table of {len(networks)} networks, and one is compared"
        help = f"write one as `{file}:{networks[0].graph.column}`; its columns: {names}"
        raise Refusal([Diagnostic("A0212", message, help=help)], status=2)
    report(networks[0].warnings, "text")
    return networks[0]
