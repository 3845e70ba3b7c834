"""What is wrong with a file, said once, for the terminal, for programs and for Python.

A message stands alone, a label points, only `help` advises. The codes, by their first digits:
A01 text and syntax, A02 names and arguments, A03 shapes and meaning, A04 limits, A05 weights,
A06 files, A07 what a machine lacks, A08 plans and devices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from archc.source import Source, Span

MOST_SHOWN = 50
"""Diagnostics shown for one file; the rest are counted."""

MOST_CANDIDATES = 500
"""Names that are looked through for the one that was probably meant."""


@dataclass(frozen=True, slots=True)
class Note:
    """A second place that the reader should see."""

    span: Span
    label: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding."""

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    help: str = ""
    notes: tuple[Note, ...] = ()
    severity: Literal["error", "warning"] = "error"


class Refusal(Exception):
    """The work cannot be done; carries every reason found. `status` is the exit code it deserves."""

    def __init__(self, diagnostics: Iterable[Diagnostic], status: int = 1) -> None:
        self.diagnostics = tuple(diagnostics)
        self.status = status
        super().__init__("\n\n".join(render(diagnostic) for diagnostic in self.diagnostics[:MOST_SHOWN]))


def nearest(name: str, candidates: Iterable[str]) -> str:
    """The candidate that was probably meant, or nothing; never the name itself."""
    from difflib import get_close_matches

    written = name.lower()[:64]
    folded = {candidate.lower(): candidate for candidate in islice(candidates, MOST_CANDIDATES)}
    folded.pop(written, None)
    found = get_close_matches(written, folded, n=1, cutoff=0.66)
    found += [candidate for candidate in folded if len(candidate) > 2 and written.startswith(candidate)]
    return folded[found[0]] if found else ""


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`did you mean …?`, or nothing."""
    candidate = nearest(name, candidates)
    return f"did you mean `{candidate}`?" if candidate else ""


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control, bidirectional and unpaired characters are escaped."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def shortened(text: str) -> str:
    """Text whose quoted pieces fit a line: nobody reads a name of ten thousand letters."""
    return _ENDLESS.sub(r"`\1…`", text) if len(text) > LONGEST_QUOTED else text


LONGEST_QUOTED = 120
_ENDLESS = re.compile(rf"`([^`]{{{LONGEST_QUOTED}}})[^`]+`")


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """A diagnostic for programs. Lines and columns count from 1, `utf16` columns from 0."""
    entry: dict[str, Any] = {
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "label": diagnostic.label,
        "help": diagnostic.help,
    }
    if diagnostic.span is not None:
        entry |= _place(diagnostic.span)
    entry["notes"] = [_place(note.span) | {"label": note.label} for note in diagnostic.notes]
    return entry


def _place(span: Span) -> dict[str, Any]:
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    before = span.source.text[span.start - column + 1 : span.start]
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "utf16_column": len(before.encode("utf-16-le", "surrogatepass")) // 2,
        "offset": span.start,
        "end_offset": span.end,
    }


def summarise(diagnostics: tuple[Diagnostic, ...]) -> str:
    """`3 errors`, `1 error and 2 warnings`; empty when there is nothing to say."""
    parts = []
    for severity in ("error", "warning"):
        number = sum(entry.severity == severity for entry in diagnostics)
        if number:
            parts.append(f"{number:,} {severity}{'s' if number > 1 else ''}")
    return " and ".join(parts)


RED, YELLOW, BLUE, BOLD, PLAIN = "\x1b[31;1m", "\x1b[33;1m", "\x1b[34;1m", "\x1b[1m", "\x1b[0m"


def render(diagnostic: Diagnostic, *, colour: bool = False) -> str:
    """A diagnostic for people: message, the code as written with carets, and the remedy."""

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{PLAIN}" if colour else text

    strong = RED if diagnostic.severity == "error" else YELLOW
    head = paint(strong, f"{diagnostic.severity}[{diagnostic.code}]")
    lines = [f"{head}{paint(BOLD, ': ' + printable(shortened(diagnostic.message)))}"]
    if diagnostic.span is not None:
        marks = [Note(diagnostic.span, diagnostic.label), *diagnostic.notes]
        numbers = [mark.span.source.position(mark.span.start)[0] for mark in marks]
        gutter = len(str(max(numbers)))
        files = list(dict.fromkeys(id(mark.span.source) for mark in marks))
        # The file of the finding first, then those that its notes point into.
        order = sorted(
            range(len(marks)), key=lambda index: (files.index(id(marks[index].span.source)), numbers[index], index > 0)
        )
        for previous, index in zip([None, *order], order, strict=False):
            mark, number = marks[index], numbers[index]
            shown, under = _underline(mark.span, number, "^" if index == 0 else "-")
            fresh = previous is None or marks[previous].span.source is not mark.span.source
            if fresh:
                first = marks[0] if mark.span.source is diagnostic.span.source else mark
                line, column = first.span.source.position(first.span.start)
                place = f"{printable(first.span.source.name)}:{line}:{column}"
                lines.append(f"{' ' * gutter}{paint(BLUE, '--> ')}{place}")
            elif previous is not None and number - numbers[previous] > 1:
                lines.append(paint(BLUE, f"{'…':>{gutter}}"))
            if fresh or previous is None or number != numbers[previous]:
                lines.append(f"{paint(BLUE, f'{number:>{gutter}} | ')}{shown}")
            tail = f" {printable(shortened(mark.label))}" if mark.label else ""
            lines.append(f"{paint(BLUE, ' ' * gutter + ' | ')}{paint(strong if index == 0 else BLUE, under + tail)}")
    if diagnostic.help:
        lines.append(f"{paint(BOLD, 'help')}: {printable(shortened(diagnostic.help))}")
    return "\n".join(lines)


WINDOW = 100
"""Columns of a source line that are shown; a longer line is cut around the place."""


def _underline(span: Span, line_number: int, mark: str) -> tuple[str, str]:
    """The source line as it is shown, and the marks below it."""
    line = span.source.line(line_number)
    start = span.start - span.source.line_starts[line_number - 1]
    end = min(max(span.end - span.source.line_starts[line_number - 1], start + 1), max(len(line), start + 1))
    first = max(0, start - WINDOW // 2) if len(line) > WINDOW else 0
    end = min(end, first + WINDOW)
    lead = "…" if first else ""
    tail = "…" if len(line) > first + WINDOW else ""
    before = _flat(line[first:start])
    marked = _flat(line[start:end])
    shown = lead + before + marked + _flat(line[end : first + WINDOW]) + tail
    return shown, " " * (len(lead) + _width(before)) + mark * max(1, _width(marked))


def _flat(text: str) -> str:
    return printable(text.replace("\t", "    "))


def _width(text: str) -> int:
    """Columns that a terminal gives a text; wide characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def whole(source: Source) -> Span:
    """The first line of a source, for findings about all of it."""
    return Span(source, 0, len(source.line(1)))
