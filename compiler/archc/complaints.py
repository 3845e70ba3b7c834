"""What is wrong with a file, collected while reading goes on."""

from __future__ import annotations

from dataclasses import dataclass, field

from archc.diagnostics import Diagnostic, Note, whole
from archc.ir import OpError
from archc.source import Span
from archc.tree import File


@dataclass
class Complaints:
    """Diagnostics of one file, in the order in which they were found."""

    file: File
    found: list[Diagnostic] = field(default_factory=list)

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic."""
        self.found.append(diagnostic)

    def say(self, code: str, message: str, part: object, help: str = "", *notes: Note) -> None:
        """Complain about a part of the tree, or about a span."""
        span = part if isinstance(part, Span) else self.file.span(part)
        self.found.append(Diagnostic(code, message, span, "", help, notes))

    def blame(self, error: OpError, part: object, label: str = "", notes: tuple[Note, ...] = ()) -> None:
        """Complain of what an operation refuses, at a part of the tree."""
        self.found.append(Diagnostic(error.code, error.message, self.file.span(part), label, error.help, notes))

    def start(self) -> Span:
        """The first line, for findings about the whole file."""
        return whole(self.file.source)
