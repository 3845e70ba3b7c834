"""What is wrong with a file, collected while reading goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from archc.diagnostics import Diagnostic, Note, whole
from archc.ir import OpError
from archc.source import Span
from archc.tree import File

MOST_CALLS = 8
"""Calls of blocks that are shown with a finding, the innermost first."""


@dataclass
class Complaints:
    """Diagnostics of one file, in the order in which they were found."""

    file: File
    """The file that is being read: a used one while a block of it is."""
    found: list[Diagnostic] = field(default_factory=list)
    calls: list[Span] = field(default_factory=list)
    """The calls of blocks that lead to where reading is."""

    @contextmanager
    def within(self, file: File, call: Span) -> Iterator[None]:
        """Read on in a block that was called; what is wrong there is said with the call."""
        before, self.file = self.file, file
        self.calls.append(call)
        yield
        self.calls.pop()
        self.file = before

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic."""
        calls = list(dict.fromkeys(reversed(self.calls)))[:MOST_CALLS]
        notes = tuple(Note(call, "called from here") for call in calls)
        self.found.append(replace(diagnostic, notes=(*diagnostic.notes, *notes)) if notes else diagnostic)

    def say(self, code: str, message: str, part: object, help: str = "", *notes: Note) -> None:
        """Complain about a part of the tree, or about a span."""
        span = part if isinstance(part, Span) else self.file.span(part)
        self.add(Diagnostic(code, message, span, "", help, notes))

    def blame(self, error: OpError, part: object, label: str = "", notes: tuple[Note, ...] = ()) -> None:
        """Complain of what an operation refuses, at a part of the tree."""
        self.add(Diagnostic(error.code, error.message, self.file.span(part), label, error.help, notes))

    def start(self) -> Span:
        """The first line, for findings about the whole file."""
        return whole(self.file.source)
