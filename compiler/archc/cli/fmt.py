"""`archc fmt`."""

from __future__ import annotations

import argparse
import sys

from archc.cli.commands import Parser
from archc.source import Source


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "fmt",
        "  archc fmt specs/*.arch              rewrites the files\n"
        "  archc fmt --check specs/*.arch      only says which would change (exit 1)\n"
        "  archc fmt - < net.arch              prints\n"
        "  archc fmt --explicit net.arch       writes implied activations out",
    )
    made.add_argument("spec", metavar="SPEC", nargs="+", help="`.arch` files, or `-` to read and print")
    made.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would change")
    made.add_argument("--explicit", action="store_true", help="write every implied layer into the text")
    return made


def run(options: argparse.Namespace) -> int:
    """Format every file; one that is wrong is reported and left alone."""
    from archc.cli.terminal import report
    from archc.diagnostics import Refusal
    from archc.files import STDIN, read_source, write_text

    status = 0
    for path in options.spec:
        try:
            source = read_source(path)
            text = formatted(source, explicit=options.explicit)
        except Refusal as refusal:
            report(refusal.diagnostics, "text")
            status = max(status, refusal.status)
            continue
        if options.check:
            if text != source.text:
                print(f"{path} would change")
                status = max(status, 1)
        elif path == STDIN:
            sys.stdout.write(text)
        elif text != source.text:
            write_text(path, text)
            print(f"{path} formatted")
    return status


def formatted(source: Source, *, explicit: bool = False) -> str:
    """The text of a source in the one layout; raises Refusal where it is no right file."""
    from archc.compile import compile_source
    from archc.format import format_file
    from archc.parse import parse
    from archc.write_out import write_out

    if not source.text.strip():
        return ""
    compiled = compile_source(source)
    file, _ = parse(source)
    if explicit:
        text = write_out(file, tuple(entry.graph for entry in compiled))
        file, _ = parse(Source(source.name, text))
    return format_file(file)
