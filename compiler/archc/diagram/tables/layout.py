"""How large the parts of a drawn table are: columns as wide as their words, rows as high as their lines.

Everything has one size of text here; the page scales it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from archc.diagram.font import fitted, width
from archc.diagram.tables.model import Cell, Piece, Row, Table
from archc.diagram.theme import Theme

TEXT, SMALL = 24.0, 20.0
LEADING = 1.25
"""The height of a line, in sizes of its text."""
PAD, GUTTER = 4.0, 14.0
"""The room above and below the lines of a row, and beside the words of a column."""
BRACKET, TICK = 7.0, 6.0
"""How far a bracket stands from its words, and how long its ends are."""
PANEL_GAP = 48.0
LONGEST = 560.0
"""The width of the longest words that are shown whole."""
Words = tuple[str, float, bool, str]
"""A line: its words, size, whether they are bold, and their colour."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How much more room than they need rows and columns have."""

    wide: float = 0.0
    """Added to each column of numbers, and twice to each of cells."""
    high: float = 0.0
    """Added to each row."""


class Layout:
    """The columns of a table, as wide as all of its rows need."""

    def __init__(self, table: Table, theme: Theme, *, calm: bool = True) -> None:
        """Columns are of one width, which is the calmer, if that costs little and there is room."""
        self.table = table
        self.theme = theme
        self.stubs = [self._widest(column) for column in self._stub_columns()]
        # The names of the sums go over all columns before the cells.
        apart = 2 * GUTTER * (len(self.stubs) - 1)
        self.stubs[-1] += max(0.0, self._widest(self._sum_labels()) - sum(self.stubs) - apart)
        cells = [[self._head_width(at)] for at in range(len(table.heads))]
        spanning = 0.0
        for row in table.rows:
            if row.spans:
                spanning = max(spanning, self._cell_width(row.cells[0]))
            else:
                for column, cell in zip(cells, row.cells, strict=True):
                    column.append(self._cell_width(cell))
        if len(table.heads) > 1:
            for at, column in enumerate(cells):
                column += [width(each.values[at], TEXT) for each in table.sums]
        self.brackets = [self._bracket(at) for at in range(len(cells))]
        widths = [max(*column, sum(room)) for column, room in zip(cells, self.brackets, strict=True)]
        most = max(widths)
        alike = calm and most * len(widths) <= 1.15 * sum(widths)
        self.cells = [most] * len(widths) if alike else widths
        missing = spanning - sum(self.cells) - 2 * GUTTER * (len(self.cells) - 1)
        self.cells = [each + max(missing, 0) / len(self.cells) for each in self.cells]
        self.numbers = [self._number_width(at) for at in range(len(table.numbers))]
        self.heights = [self._height(row) for row in table.rows]

    def panels(self, count: int) -> list[range]:
        """The rows in at most so many panels, the highest of them as low as can be."""
        low, high = 0.0, sum(self.heights) + self.sums * self.sum_height
        while high - low > 0.5:
            middle = (low + high) / 2
            low, high = (low, middle) if len(self._packed(middle)) <= count else (middle, high)
        return self._packed(high)

    def size(self, panels: Sequence[range], spread: Spread) -> tuple[float, float]:
        """Width and height of the whole."""
        wide = len(panels) * self.panel_width(spread) + (len(panels) - 1) * PANEL_GAP
        return wide, max(self._panel_height(rows, rows.stop == len(self.heights), spread) for rows in panels)

    @property
    def columns(self) -> list[float]:
        """The widths of all columns."""
        return [*self.stubs, *self.cells, *self.numbers]

    def panel_width(self, spread: Spread) -> float:
        """The width of one panel."""
        return sum(each + 2 * GUTTER for each in self.columns) + self.shares * spread.wide

    @property
    def shares(self) -> int:
        """Into how many parts spare room is divided."""
        return 2 * len(self.cells) + len(self.numbers)

    def _panel_height(self, rows: range, last: bool, spread: Spread) -> float:
        height = self.head_height + sum(self.heights[at] + spread.high for at in rows)
        return height + (self.sums * (self.sum_height + spread.high) if last else 0)

    @property
    def sums(self) -> int:
        """How many rows of sums there are."""
        if len(self.table.heads) == 1:
            return 1 if self.table.numbers else 0
        return len(self.table.sums)

    @property
    def head_height(self) -> float:
        """The height of the names of the networks and their weight layers."""
        return (TEXT * LEADING if len(self.cells) > 1 else 0.0) + SMALL * LEADING + 2 * PAD

    @property
    def sum_height(self) -> float:
        """The height of a row of sums."""
        return TEXT * LEADING + 2 * PAD

    def _packed(self, most: float) -> list[range]:
        found: list[range] = []
        start, height = 0, 0.0
        last = len(self.heights) - 1
        for at, each in enumerate(self.heights):
            each += self.sums * self.sum_height if at == last else 0
            if at > start and height + each > most:
                found.append(range(start, at))
                start, height = at, 0.0
            height += each
        return [*found, range(start, len(self.heights))]

    def _stub_columns(self) -> Iterator[list[Words]]:
        rows = [stub_lines(self.table, row, self.theme) for row in self.table.rows]
        for at, word in enumerate(self.table.stubs):
            yield [*(line for row in rows for line in row[at]), (word, SMALL, False, "")]

    def _sum_labels(self) -> list[Words]:
        labels = ["total"] if len(self.table.heads) == 1 else [each.label for each in self.table.sums]
        labels = labels[: self.sums]
        return [(label, TEXT, False, "") for label in labels]

    def _widest(self, lines: Sequence[Words]) -> float:
        return max((words_width(line) for line in lines), default=0.0)

    def _head_width(self, at: int) -> float:
        name, below = self.head(at, 0)
        return max(width(name, TEXT, bold=True), width(below, SMALL), width(self.head(at, 1)[1], SMALL))

    def head(self, at: int, panel: int) -> tuple[str, str]:
        """What stands above a column; the name of a single network is that of the whole page."""
        head = self.table.heads[at]
        if len(self.table.heads) == 1:
            return "", "layers, continued" if panel else "layers"
        return fitted(head.name, TEXT, LONGEST, bold=True), "continued" if panel else head.depth

    def _bracket(self, at: int) -> tuple[float, float]:
        """The room for the brackets of a column, and for the numbers beside them, so that all stand in one line."""
        rows = [row for row in self.table.rows if not row.spans]
        pieces = [piece for row in rows for piece in row.cells[at].pieces if piece.bracketed]
        return max(map(body_width, pieces), default=0.0), max(map(times_width, pieces), default=0.0)

    def _number_width(self, at: int) -> float:
        texts = [row.numbers[at] for row in self.table.rows if row.numbers] + [self.table.sums[at].rounded[0]]
        return max(width(self.table.numbers[at], SMALL), *(width(text, TEXT) for text in texts))

    def _cell_width(self, cell: Cell) -> float:
        return max([0.0, *(piece_width(piece) for piece in cell.pieces), *map(words_width, below(cell, self.theme))])

    def _height(self, row: Row) -> float:
        cells = [cell_height(cell, self.theme) for cell in row.cells]
        stubs = [sum(line[1] * LEADING for line in lines) for lines in stub_lines(self.table, row, self.theme)]
        return max(*cells, *stubs, TEXT * LEADING) + 2 * PAD


def stub_lines(table: Table, row: Row, theme: Theme) -> list[list[Words]]:
    """The words before a row, by column: its name with its note below, and its size."""
    note = [(row.note, SMALL, False, theme.muted)] if row.note else []
    label = [(fitted(row.label, TEXT, LONGEST), TEXT, False, theme.text)] if row.label else []
    size = [(row.size, TEXT, False, theme.text)] if row.size else []
    columns = [label + note] if table.labelled or not table.sized else []
    return [*columns, *([size + ([] if columns else note)] if table.sized else [])]


def below(cell: Cell, theme: Theme) -> list[Words]:
    """The small print at the end of a cell: its size."""
    return [(f"→ {cell.size}", SMALL, False, theme.muted)] if cell.size else []


def words_width(line: Words) -> float:
    """How wide a line is drawn."""
    return width(line[0], line[1], bold=line[2])


def piece_width(piece: Piece) -> float:
    """How wide a piece is drawn, with its brackets and the number of its repeats."""
    return max(body_width(piece) + times_width(piece), width(piece.note, SMALL))


def body_width(piece: Piece) -> float:
    """How wide its lines are drawn, with brackets where they have some."""
    wide = max(min(width(line, TEXT, bold=piece.added == "all"), LONGEST) for line in piece.lines)
    return wide + (2 * (BRACKET + TICK) if piece.bracketed else 0.0)


def times_width(piece: Piece) -> float:
    """How wide the number of a piece's repeats is drawn."""
    return width(f" ×{piece.times}", TEXT, bold=bool(piece.added)) if piece.times > 1 else 0.0


def piece_height(piece: Piece) -> float:
    """How high a piece is drawn."""
    return len(piece.lines) * TEXT * LEADING + (SMALL * LEADING if piece.note else 0.0)


def cell_height(cell: Cell, theme: Theme) -> float:
    """How high the lines of a cell are; brackets that follow upon one another keep apart."""
    apart = PAD * sum(piece.bracketed for piece in cell.pieces[1:])
    return sum(map(piece_height, cell.pieces)) + apart + SMALL * LEADING * len(below(cell, theme))
