"""Writing to a terminal: diagnostics, colour, progress."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from typing import TextIO

from archc.diagnostics import MOST_SHOWN, Diagnostic, as_json, render, summarise


def coloured(stream: TextIO) -> bool:
    """Whether a stream is a terminal that wants colour (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns to print in: the terminal's, or 100 where the output is none."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


def report(diagnostics: Iterable[Diagnostic], format: str) -> None:
    """Print diagnostics: for people on the standard error, as JSON on the standard output."""
    found = tuple(diagnostics)
    if format == "json":
        import json

        print(json.dumps({"diagnostics": [as_json(entry) for entry in found]}, indent=1, ensure_ascii=False))
        return
    for entry in found[:MOST_SHOWN]:
        print(render(entry, colour=coloured(sys.stderr)), file=sys.stderr)
    if len(found) > MOST_SHOWN:
        print(f"and {len(found) - MOST_SHOWN:,} more", file=sys.stderr)
    if len(found) > 1:
        print(summarise(found), file=sys.stderr)


class Progress:
    """A bar on the standard error, for work that takes more than a moment; silent in a pipe."""

    PATIENCE = 0.7
    """Seconds that pass before a bar appears."""

    def __init__(self) -> None:
        self.shown = False
        self.begun = self.drawn = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say how far the work has come."""
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self.begun < self.PATIENCE or (now - self.drawn < 0.1 and done < total):
            return
        self.shown, self.drawn = True, now
        share = done / total if total else 1.0
        room = max(10, min(40, shutil.get_terminal_size((80, 24)).columns - len(what) - 12))
        bar = "█" * round(share * room)
        print(f"\r\x1b[K{what}  {bar:░<{room}} {share:4.0%}", end="", file=sys.stderr, flush=True)

    def step(self, what: str) -> None:
        """Say what is being done, where nobody knows how much there is."""
        if sys.stderr.isatty():
            self.shown = True
            print(f"\r\x1b[K{what} …", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.shown = False
