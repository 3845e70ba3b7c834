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
    """An operation: `+ - * //`, a call of `min` or `max`, a comparison, or `and`, `or`, `not`."""

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


class Quoted(NamedTuple):
    """Layers as an argument of a block: `{leakyrelu-0.1}`."""

    layers: tuple[Layer, ...]
    start: int
    end: int


class Argument(NamedTuple):
    """What a call of a block gives: `64`, `s=2`, `act={leakyrelu-0.1}`."""

    name: Word | None
    value: Expression | Quoted
    start: int
    end: int


class Layer(NamedTuple):
    """`conv-3-64/2 pad=1`: words joined by dashes, a stride, options, perhaps `@name`; or a block, `basic(64)`."""

    words: tuple[Expression, ...]
    stride: Expression | None
    options: tuple[Option, ...]
    at: Word | None
    start: int
    end: int
    call: tuple[Argument, ...] | None = None
    """The arguments in parentheses; None where there are none."""


class Group(NamedTuple):
    """Rows in braces."""

    rows: tuple[Row, ...]
    start: int
    end: int


class Fetch(NamedTuple):
    """`@name` at the start of a branch: the value of an earlier item."""

    at: Word
    start: int
    end: int


class Merge(NamedTuple):
    """`add { …; … }`: each row is a branch."""

    kind: Word
    """add, mul or concat."""
    branches: tuple[Row, ...]
    start: int
    end: int


class Choice(NamedTuple):
    """`if condition { … } else { … }`."""

    condition: Expression
    then: Group
    otherwise: Group | Choice | None
    start: int
    end: int


class Aux(NamedTuple):
    """`aux-0.3 { … }`: a head that is there in training only."""

    weight: Expression | None
    body: Group
    start: int
    end: int


class Outputs(NamedTuple):
    """`outputs { cls: {…}; box: {…} }`: each row is a result."""

    branches: tuple[Row, ...]
    start: int
    end: int


Body = tuple[Layer, ...] | Group | Fetch | Merge | Choice | Aux | Outputs


class Item(NamedTuple):
    """A layer with what is attached to it, a group, a merge or the like; perhaps labelled, perhaps repeated."""

    label: Word | None
    """With its counter, if it has one: `denselayer#`."""
    body: Body
    times: Expression | None
    start: int
    end: int

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of an item that is made of them; none for braces of any kind."""
        return self.body if type(self.body) is tuple else ()


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
    cells: tuple[Expression | Quoted, ...]
    start: int
    end: int


class Expect(NamedTuple):
    """`expect params = 133M | 133M`."""

    what: Word
    cells: tuple[Word, ...]
    start: int
    end: int


class Parameter(NamedTuple):
    """A parameter of a block, perhaps with a default: `c`, `s=1`."""

    name: Word
    default: Expression | Quoted | None
    start: int
    end: int


class Block(NamedTuple):
    """`block basic(c, s=1) { … }`."""

    name: Word
    parameters: tuple[Parameter, ...]
    body: Group
    start: int
    end: int


class Use(NamedTuple):
    """`use "blocks.arch"`."""

    path: Word
    start: int
    end: int


class Setting(NamedTuple):
    """A line of a recipe: a word, then what it is set to, as in `optimizer adam lr=1e-3` and `l1 @code 1e-4`."""

    word: Word
    values: tuple[Word | Option | Fetch, ...]
    start: int
    end: int


class Train(NamedTuple):
    """`train { … }`: a recipe for training."""

    settings: tuple[Setting, ...]
    start: int
    end: int


Statement = Title | Columns | Input | Hidden | Default | Param | Expect | Block | Use | Train | Row


@dataclass(frozen=True, slots=True)
class File:
    """A whole file. `broken` says that parts of it could not be read and stand as the layer `?`."""

    source: Source
    statements: tuple[Statement, ...]
    broken: bool = False

    def span(self, part: object) -> Span:
        """The place of a part of this file."""
        return Span(self.source, part.start, part.end)  # type: ignore[attr-defined]
