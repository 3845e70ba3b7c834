"""Graphviz, where a machine has it: it reads our DOT text, and says what it draws."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from importlib.util import find_spec

import pytest


@cache
def drawn(text: str, format: str) -> str:
    """What Graphviz makes of DOT text; the test is skipped where there is neither pygraphviz nor `dot`."""
    if find_spec("pygraphviz") is not None:
        from pygraphviz import AGraph

        return AGraph(string=text).draw(format=format, prog="dot").decode()
    if (program := shutil.which("dot")) is None:
        pytest.skip("no Graphviz")
    done = subprocess.run([program, f"-T{format}"], input=text.encode(), capture_output=True, check=True, timeout=60)
    return done.stdout.decode()
