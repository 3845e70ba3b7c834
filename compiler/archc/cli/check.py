"""`archc check`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from archc.cli.commands import Parser, add_spec
from archc.cli.terminal import report

if TYPE_CHECKING:
    from archc.diagnostics import Diagnostic
    from archc.ir import Graph


def parser() -> Parser:
    """The command's options."""
    made = Parser("check", "  archc check specs/vgg_e.arch\n  archc check specs/*.arch --format json")
    add_spec(made, several=True)
    made.add_argument("--format", choices=("text", "json"), default="text", help="for people or for programs")
    return made


def run(options: argparse.Namespace) -> int:
    """Compile every file; all findings, then one exit code."""
    from archc.compile import compile_source
    from archc.diagnostics import Refusal, as_json
    from archc.files import read_source

    status = 0
    found: list[Diagnostic] = []
    networks: list[Graph] = []
    for path in options.spec:
        diagnostics: tuple[Diagnostic, ...] = ()
        try:
            compiled = compile_source(read_source(path), options.column, dict(options.settings))
        except Refusal as refusal:
            diagnostics = refusal.diagnostics
            status = max(status, refusal.status)
        else:
            diagnostics = tuple(warning for entry in compiled for warning in entry.warnings)
            networks += [entry.graph for entry in compiled]
        found += diagnostics
        if options.format == "text":
            report(diagnostics, "text")
    if options.format == "json":
        import json

        sizes = [{"network": graph.name, "file": graph.file, "layers": len(graph.nodes)} for graph in networks]
        print(json.dumps({"networks": sizes, "diagnostics": [as_json(entry) for entry in found]}, indent=1))
    elif status == 0:
        layers = sum(len(graph.nodes) for graph in networks)
        if not networks:
            print("no network, but blocks for others to use")
            return status
        what = f"{networks[0].name} is" if len(networks) == 1 else f"{len(networks)} networks are"
        print(f"{what} right: {layers:,} layer{'s' if layers != 1 else ''}")
    return status
