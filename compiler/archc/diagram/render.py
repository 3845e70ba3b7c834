"""DOT text to SVG, PNG or PDF, by whatever Graphviz engine the machine has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from typing import Literal

from archc.diagnostics import Diagnostic, Refusal

Format = Literal["svg", "png", "pdf"]
FORMATS: tuple[Format, ...] = ("svg", "png", "pdf")
PATIENCE = 20.0
"""Seconds after which a layout is given up."""
OPTIONS = {"svg": (), "png": ("-Gdpi=144",), "pdf": ()}


class EngineMissing(Refusal):
    """A0702: the machine has no Graphviz engine; the DOT text is all that can be had."""

    def __init__(self) -> None:
        help = (
            "`pip install 'pygraphviz>=2'` (its wheels carry the engine), or install Graphviz"
            " (`apt install graphviz`, `brew install graphviz`, `winget install Graphviz.Graphviz`) and check"
            " `dot -V`; `pip install graphviz` is not enough. The `.dot` file needs neither"
        )
        super().__init__((Diagnostic("A0702", "no Graphviz engine was found to draw the diagram", help=help),), 2)


class EngineFailed(Refusal):
    """A0703: the engine gave up, or took longer than `PATIENCE`."""

    def __init__(self, reason: str) -> None:
        help = "the `.dot` file is complete: try another version of Graphviz on it"
        super().__init__((Diagnostic("A0703", f"Graphviz did not draw the diagram: {reason}", help=help),), 2)


_DATE = re.compile(rb"(/CreationDate \(D:)[^)]*\)")


def render(dot_text: str, format: Format) -> bytes:
    """The picture of a DOT text. Raises EngineMissing, or EngineFailed after at most 20 seconds."""
    picture = _draw(dot_text, format)
    return _undated(picture) if format == "pdf" else picture


def _undated(pdf: bytes) -> bytes:
    """The same picture gives the same bytes: the date is set to one of equal length, since offsets count."""
    return _DATE.sub(lambda found: found[1] + b"20000101000000Z"[: len(found[0]) - len(found[1]) - 1] + b")", pdf)


def _draw(dot_text: str, format: Format) -> bytes:
    if find_spec("pygraphviz") is not None:
        command = [sys.executable, "-P", "-m", "archc.diagram.engine", format, *OPTIONS[format]]
        done = _run(command, dot_text)
        if done.returncode == 0 and done.stdout:
            return done.stdout
        if shutil.which("dot") is None:
            raise EngineFailed(_last_line(done.stderr))
    program = shutil.which("dot")
    if program is None:
        raise EngineMissing
    done = _run([program, f"-T{format}", *OPTIONS[format]], dot_text)
    if done.returncode or not done.stdout:
        raise EngineFailed(_last_line(done.stderr))
    return done.stdout


def _run(command: list[str], dot_text: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=dot_text.encode(), capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise EngineFailed(f"it took longer than {PATIENCE:g} seconds") from None
    except OSError as error:
        raise EngineFailed(str(error)) from None


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
