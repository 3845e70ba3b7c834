"""`archc completion`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from archc.cli.commands import COMMANDS, Parser

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "completion",
        "  archc completion bash > ~/.local/share/bash-completion/completions/archc\n"
        '  archc completion zsh > "${fpath[1]}/_archc"',
    )
    made.add_argument("shell", choices=SHELLS)
    return made


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        print("archc completion needs the package shtab: `pip install 'archc-nn[completion]'`", file=sys.stderr)
        return 2
    whole = argparse.ArgumentParser(prog="archc")
    commands = whole.add_subparsers()
    for name, text in COMMANDS.items():
        part = import_module(f"archc.cli.{name}").parser()
        commands.add_parser(name, parents=[part], add_help=False, help=text)
    print(shtab.complete(whole, shell=options.shell))
    return 0
