"""One panel of a drawn table: its heads, some of its rows, and in the last one its sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archc.diagram.font import fitted, width
from archc.diagram.scene import Anchor, Group, Line, Mark, Pen, Rect, Text
from archc.diagram.tables.layout import (
    GUTTER,
    LEADING,
    LONGEST,
    PAD,
    SMALL,
    TEXT,
    TICK,
    Layout,
    Spread,
    Words,
    below,
    body_width,
    cell_height,
    piece_height,
    stub_lines,
    times_width,
)
from archc.diagram.tables.model import Cell, Piece, Row, RowKind
from archc.diagram.theme import Theme

HEAVY, THIN, HAIR = 2.5, 1.5, 1.0
BASELINE = 0.97
"""From the top of a line to its baseline, in sizes of its text."""


@dataclass(frozen=True)
class Panel:
    """Where a panel is, and how it is drawn."""

    layout: Layout
    tint: str
    """Behind the rows of pooling layers."""
    left: float
    spread: Spread
    rows: range
    number: int

    @property
    def theme(self) -> Theme:
        return self.layout.theme

    def marks(self) -> Iterator[Mark]:
        """Everything, from top to bottom."""
        table = self.layout.table
        yield self._rule(0, HEAVY)
        yield from self._head()
        y = self.layout.head_height
        yield self._rule(y, THIN)
        for at in self.rows:
            height = self.layout.heights[at] + self.spread.high
            yield from self._row(at, table.rows[at], y, height)
            y += height
        if self.rows.stop == len(table.rows):
            yield self._rule(y, THIN)
            for at in range(self.layout.sums):
                yield from self._sum(at, y)
                y += self.layout.sum_height + self.spread.high
        yield self._rule(y, HEAVY)

    def _rule(self, y: float, thick: float) -> Mark:
        right = self.left + self.layout.panel_width(self.spread)
        colour = self.theme.faint if thick == HAIR else self.theme.line
        return Line(((self.left, y), (right, y)), Pen(colour, thick))

    def _columns(self) -> list[tuple[float, float]]:
        """The left of each column and its width, the gutters not counted."""
        found = []
        x = self.left
        stubs = len(self.layout.stubs)
        ends = stubs + len(self.layout.cells)
        for at, each in enumerate(self.layout.columns):
            extra = self.spread.wide * (0 if at < stubs else 2 if at < ends else 1)
            found.append((x + GUTTER + extra / 2, each))
            x += each + 2 * GUTTER + extra
        if self.layout.numbers:
            # The last column ends where the table does.
            found[-1] = (found[-1][0] + self.spread.wide / 2, found[-1][1])
        return found

    def _head(self) -> Iterator[Mark]:
        table, columns = self.layout.table, self._columns()
        stubs, heads = len(table.stubs), len(table.heads)
        bottom = self.layout.head_height - PAD - SMALL * LEADING + SMALL * BASELINE
        muted = self.theme.muted
        for word, (x, _) in zip(table.stubs, columns, strict=False):
            yield Text(x, bottom, word, SMALL, muted)
        for at, (head, (x, wide)) in enumerate(zip(table.heads, columns[stubs:], strict=False)):
            name, under = self.layout.head(at, self.number)
            middle = x + wide / 2
            words = [Text(middle, bottom, under, SMALL, muted, anchor="middle")]
            if name:
                top = PAD + TEXT * BASELINE
                words.insert(0, Text(middle, top, name, TEXT, self.theme.text, True, "middle"))
            place = f"head-{at}-{self.number}" if self.number else f"head-{at}"
            yield Group(tuple(words), place, "kind-head" if name else "head", head.tooltip)
        for word, (x, wide) in zip(table.numbers, columns[stubs + heads :], strict=True):
            yield Text(x + wide, bottom, word, SMALL, muted, anchor="end")

    def _row(self, at: int, row: Row, top: float, height: float) -> Iterator[Mark]:
        table, columns = self.layout.table, self._columns()
        stubs = len(table.stubs)
        if row.kind == "pool":
            yield Rect(self.left, top, self.layout.panel_width(self.spread), height, self.tint)
        elif at != self.rows.start and table.rows[at - 1].kind != "pool" and not row.continues:
            yield self._rule(top, HAIR)
        centred = any(piece.bracketed for cell in row.cells for piece in cell.pieces)
        inner = height - 2 * PAD - self.spread.high
        top += PAD + self.spread.high / 2
        for lines, (x, _) in zip(stub_lines(table, row, self.theme), columns, strict=False):
            high = sum(line[1] * LEADING for line in lines)
            down = (inner - high) / 2 if centred else 0
            # A note that stands alone keeps to the line of the cells beside it.
            down += (TEXT - SMALL) * BASELINE if lines and not centred and lines[0][1] == SMALL else 0
            yield from _lines(lines, x, top + down, "start")
        spans = columns[stubs : stubs + len(table.heads)]
        if row.spans:
            (first, _), (last, wide) = spans[0], spans[-1]
            spans = [(first, last + wide - first)]
        for number, (cell, (x, wide)) in enumerate(zip(row.cells, spans, strict=True)):
            if cell.pieces:
                down = (inner - cell_height(cell, self.theme)) / 2 if centred else 0
                room = self.layout.brackets[number] if not row.spans else (0.0, 0.0)
                marks = tuple(self._cell(cell, x + wide / 2, top + down, room))
                yield Group(marks, f"cell-{at}-{number}", _KINDS[row.kind], cell.tooltip)
        for word, (x, wide) in zip(row.numbers, columns[stubs + len(table.heads) :], strict=False):
            down = (inner - TEXT * LEADING) / 2 if centred else 0
            yield Text(x + wide, top + down + TEXT * BASELINE, word, TEXT, self.theme.text, anchor="end")

    def _cell(self, cell: Cell, middle: float, top: float, room: tuple[float, float]) -> Iterator[Mark]:
        if not any(piece.bracketed for piece in cell.pieces):
            room = (0.0, 0.0)
        for number, piece in enumerate(cell.pieces):
            top += PAD if number and piece.bracketed else 0
            yield from self._piece(piece, middle, top, room)
            top += piece_height(piece)
        yield from _lines(below(cell, self.theme), middle, top, "middle")

    def _piece(self, piece: Piece, middle: float, top: float, room: tuple[float, float]) -> Iterator[Mark]:
        """A piece; brackets are as wide as `room` says, at least."""
        body, times = body_width(piece), times_width(piece)
        if piece.bracketed:
            body, times = max(body, room[0]), max(times, room[1])
        left = middle - (body + times) / 2
        if not piece.bracketed and room[0]:
            # Between brackets, a single layer stands in the middle of theirs.
            left = middle - (room[1] + body) / 2
        right = left + body
        centre = (left + right) / 2
        colour, bold = self.theme.text, piece.added == "all"
        lines: list[Words] = [(fitted(line, TEXT, LONGEST, bold=bold), TEXT, bold, colour) for line in piece.lines]
        high = len(lines) * TEXT * LEADING
        yield from _lines(lines, centre, top, "middle")
        if piece.bracketed:
            pen = Pen(self.theme.line, 2 if bold else THIN)
            for x, inwards in ((left + 1, TICK), (right - 1, -TICK)):
                ends = (top + 2, top + high - 2)
                yield Line(((x + inwards, ends[0]), (x, ends[0]), (x, ends[1]), (x + inwards, ends[1])), pen)
        if piece.times > 1:
            y = top + high / 2 - TEXT * LEADING / 2 + TEXT * BASELINE
            beside = right + width(" ", TEXT)
            yield Text(beside, y, f"×{piece.times}", TEXT, colour, bool(piece.added))
        if piece.note:
            yield from _lines([(piece.note, SMALL, False, self.theme.muted)], middle, top + high, "middle")

    def _sum(self, at: int, top: float) -> Iterator[Mark]:
        table, columns = self.layout.table, self._columns()
        stubs, heads = len(table.stubs), len(table.heads)
        y = top + PAD + self.spread.high / 2 + TEXT * BASELINE
        text = self.theme.text
        if heads == 1:
            yield Text(columns[0][0], y, "total", TEXT, text)
            for each, (x, wide) in zip(table.sums, columns[stubs + heads :], strict=True):
                yield Text(x + wide, y, each.rounded[0], TEXT, text, True, "end")
            return
        yield Text(columns[0][0], y, table.sums[at].label, TEXT, text)
        for word, (x, wide) in zip(table.sums[at].values, columns[stubs:], strict=False):
            yield Text(x + wide / 2, y, word, TEXT, text, anchor="middle")


_KINDS: dict[RowKind, str] = {
    "input": "kind-input",
    "stage": "kind-cell",
    "pool": "kind-pool",
    "end": "kind-cell",
}


def _lines(lines: Sequence[Words], x: float, top: float, anchor: Anchor) -> Iterator[Mark]:
    for words, size, bold, colour in lines:
        yield Text(x, top + size * BASELINE, words, size, colour, bold, anchor)
        top += size * LEADING
