"""Runs the Graphviz engine that pygraphviz carries: DOT on standard input, a picture on standard output.

A program of its own (`python -m archc.diagram.engine FORMAT ENGINE-OPTIONS`), so that a layout that
never ends can be stopped.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Draw standard input; the first argument is the format, the others go to the engine."""
    from pygraphviz import AGraph  # type: ignore[import-untyped]

    picture, options = sys.argv[1], sys.argv[2:]
    text = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(AGraph(string=text).draw(format=picture, prog="dot", args=" ".join(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
