"""What was written: the parts of an `.arch` file, with their places, and no meaning yet.

`start` and `end` are offsets into the file's source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from archc.source import Source, Span


class Word(NamedTuple):
    """A piece of text that stands for itself: `conv`, `64`, `3x1`, `classes`."""

    text: str
    start: int
    end: int


class Arithmetic(NamedTuple):
    """An operation on whole numbers, or a call of `min` or `max`."""

    operator: str
    operands: tuple[Expression, ...]
    start: int
    end: int


Expression = Word | Arithmetic
"""An argument: a word, or arithmetic in parentheses."""


class Option(NamedTuple):
    """`pad=2`, bound to the layer just before it."""

    key: Word
    value: Expression
    start: int
    end: int


class Layer(NamedTuple):
    """`conv-3-64/2 pad=1`: words joined by dashes, a stride, options, perhaps `@name`."""

    words: tuple[Expression, ...]
    stride: Expression | None
    options: tuple[Option, ...]
    at: Word | None
    start: int
    end: int


class Group(NamedTuple):
    """Rows in braces."""

    rows: tuple[Row, ...]
    start: int
    end: int


class Item(NamedTuple):
    """A layer with what is attached to it, or a group; perhaps labelled, perhaps repeated."""

    label: Word | None
    body: tuple[Layer, ...] | Group
    times: Expression | None
    start: int
    end: int


class Cell(NamedTuple):
    """What one column of a row holds: items joined by commas. A `-` holds none."""

    items: tuple[Item, ...]
    start: int
    end: int


class Row(NamedTuple):
    """A line of layers: one cell for all columns, or one for each; `-> 7x7x512` says what comes out."""

    cells: tuple[Cell, ...]
    size: Expression | None
    start: int
    end: int


class Title(NamedTuple):
    """`network VGG-E`."""

    name: str
    start: int
    end: int


class Columns(NamedTuple):
    """`columns A | B | C`."""

    names: tuple[Word, ...]
    start: int
    end: int


class Input(NamedTuple):
    """`input 224x224 RGB`."""

    size: Expression
    colour: Word | None
    start: int
    end: int


class Hidden(NamedTuple):
    """`hidden FC = relu dropout-0.5`, one list of layers for each column or one for all."""

    kind: Word | None
    cells: tuple[tuple[Layer, ...], ...]
    start: int
    end: int


class Default(NamedTuple):
    """`default conv bias=no`."""

    kind: Word
    cells: tuple[tuple[Option, ...], ...]
    start: int
    end: int


class Param(NamedTuple):
    """`param classes = 1000`."""

    name: Word
    cells: tuple[Expression, ...]
    start: int
    end: int


class Expect(NamedTuple):
    """`expect params = 133M | 133M`."""

    what: Word
    cells: tuple[Word, ...]
    start: int
    end: int


Statement = Title | Columns | Input | Hidden | Default | Param | Expect | Row


@dataclass(frozen=True, slots=True)
class File:
    """A whole file. `broken` says that parts of it could not be read and stand as the layer `?`."""

    source: Source
    statements: tuple[Statement, ...]
    broken: bool = False

    def span(self, part: object) -> Span:
        """The place of a part of this file."""
        return Span(self.source, part.start, part.end)  # type: ignore[attr-defined]
