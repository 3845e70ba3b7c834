"""Text in columns: as wide as its content, wrapped or thinned out where a page is too narrow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from unicodedata import east_asian_width


@dataclass(frozen=True)
class Column:
    """One column: its key, its head, and how it behaves where there is no room."""

    key: str
    head: str
    align: Literal["left", "right"] = "left"
    wraps: int = 0
    """The narrowest that it may be wrapped to; 0 for columns that keep their lines whole."""


@dataclass(frozen=True)
class Row:
    """Cells by column key; a missing cell is blank."""

    cells: dict[str, str] = field(default_factory=dict)
    heading: str = ""
    """A line of its own in place of cells."""


def layout(columns: list[Column], rows: list[Row], width: int, gap: str = "  ") -> list[str] | None:
    """The table's lines, head first; None where it does not fit the width."""
    spans = {column.key: _span(column, rows) for column in columns}
    spare = width - sum(spans.values()) - len(gap) * (len(columns) - 1)
    for column in columns:
        if spare < 0 and column.wraps:
            narrower = max(column.wraps, spans[column.key] + spare)
            spare += spans[column.key] - narrower
            spans[column.key] = narrower
    if spare < 0:
        return None
    head = gap.join(_fit(column.head, spans[column.key], column.align) for column in columns).rstrip()
    rule = gap.join("─" * spans[column.key] for column in columns)
    lines = [head, rule]
    for row in rows:
        lines += wrap(row.heading, width) if row.heading else _lines(columns, row, spans, gap)
    return lines


def columns_of(rows: list[list[str]], *, right: tuple[int, ...] = ()) -> list[str]:
    """Plain columns, two blanks apart; those numbered in `right` are aligned to the right."""
    spans = [max(map(cells_wide, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            _fit(cell, span, "right" if at in right else "left")
            for at, (cell, span) in enumerate(zip(row, spans, strict=True))
        ).rstrip()
        for row in rows
    ]


def cells_wide(text: str) -> int:
    """How many terminal cells a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most this width, broken at blanks; a longer word keeps its length."""
    if cells_wide(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cells_wide(lines[-1]) + 1 + cells_wide(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _span(column: Column, rows: list[Row]) -> int:
    return max([cells_wide(column.head), *(cells_wide(row.cells.get(column.key, "")) for row in rows)])


def _lines(columns: list[Column], row: Row, spans: dict[str, int], gap: str) -> list[str]:
    wrapped = {column.key: wrap(row.cells.get(column.key, ""), spans[column.key]) for column in columns}
    lines = []
    for at in range(max(map(len, wrapped.values()))):
        cells = []
        for column in columns:
            parts = wrapped[column.key]
            cells.append(_fit(parts[at] if at < len(parts) else "", spans[column.key], column.align))
        lines.append(gap.join(cells).rstrip())
    return lines


def _fit(text: str, span: int, align: str) -> str:
    blank = " " * (span - cells_wide(text))
    return blank + text if align == "right" else text + blank
