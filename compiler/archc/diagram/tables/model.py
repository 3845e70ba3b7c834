"""A table of configurations before it is written: columns, rows, cells, and the lines that stand in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Added = Literal["", "times", "all"]
"""What of a piece the column to the left lacks: nothing, some of its repeats, all of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A layer, or the layers of a block in brackets, and how often they are repeated."""

    lines: tuple[str, ...]
    times: int = 1
    note: str = ""
    """In what the first of the repeats differs: `first: /2`."""
    added: Added = ""
    broken: bool = False
    """Whether the lines are one that was too long."""

    @property
    def bracketed(self) -> bool:
        return len(self.lines) > 1 and not self.broken


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one column of a row, or in all of them."""

    pieces: tuple[Piece, ...] = ()
    span: int = 1
    size: str = ""
    """Its output, where the columns do not agree on one."""
    tooltip: str = ""


RowKind = Literal["input", "stage", "pool", "end"]


@dataclass(frozen=True, slots=True)
class Row:
    """One stage of all networks."""

    kind: RowKind
    cells: tuple[Cell, ...]
    """One for each column, or a single one that spans them all."""
    label: str = ""
    size: str = ""
    """The output that all columns agree on."""
    note: str = ""
    """What the pieces of all cells have to say, if they say the same."""
    continues: bool = False
    """Whether it goes on with the cells of the row above."""
    numbers: tuple[str, ...] = ()
    """Parameters and multiply-accumulates; in a table of one network only."""

    @property
    def spans(self) -> bool:
        return len(self.cells) == 1 and self.cells[0].span > 1


@dataclass(frozen=True, slots=True)
class Head:
    """A column: the name of a network and its weight layers, in words."""

    name: str
    depth: str
    tooltip: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """A number of each network."""

    label: str
    values: tuple[str, ...]
    """In the unit that the label says, if it says one."""
    rounded: tuple[str, ...] = ()
    """The same with their units: `133M`."""


@dataclass(frozen=True)
class Table:
    """Networks side by side."""

    title: str
    totals: str
    """Of a single network: the line below its name."""
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    sums: tuple[Sum, ...]
    notes: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether any stage has a name."""
        return any(row.label for row in self.rows)

    @property
    def sized(self) -> bool:
        """Whether the columns agree on the size of any stage."""
        return any(row.size for row in self.rows)

    @property
    def stubs(self) -> tuple[str, ...]:
        """The heads of the columns that say which stage a row is; there is always one."""
        return (*(["stage"] if self.labelled or not self.sized else []), *(["output"] if self.sized else []))

    def stub(self, row: Row) -> tuple[str, ...]:
        """What a row says of its stage, in the order of `stubs`."""
        words = [row.label] if self.labelled or not self.sized else []
        words += [row.size] if self.sized else []
        if row.note:
            words[0] = f"{words[0]} ({row.note})".lstrip()
        return tuple(words)

    def sum_stub(self, words: str) -> tuple[str, ...]:
        """The same for a row of sums."""
        return (words, *[""] * (len(self.stubs) - 1))

    @property
    def numbers(self) -> tuple[str, ...]:
        """The heads of the columns of numbers."""
        return NUMBERS if any(row.numbers for row in self.rows) else ()


NUMBERS = ("parameters", "MACs")
