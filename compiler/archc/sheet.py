"""One network's statements: the file's, with the cells of one column picked out of every row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from archc.characters import comment_start
from archc.complaints import Complaints
from archc.diagnostics import Diagnostic, Note
from archc.tree import (
    Aux,
    Block,
    Cell,
    Choice,
    Columns,
    Default,
    Expect,
    Expression,
    File,
    Group,
    Hidden,
    Input,
    Item,
    Layer,
    Merge,
    Option,
    Outputs,
    Param,
    Quoted,
    Row,
    Title,
    Train,
    Word,
)
from archc.uses import Definition, Library, gather

T = TypeVar("T")

LONGEST_NAME = 255
EXAMPLES = {
    "network": "network VGG-E",
    "columns": "columns A | B",
    "input": "input 224x224 RGB",
    "hidden": "hidden = relu",
    "default": "default conv bias=no",
    "param": "param classes = 1000",
    "expect": "expect params = 61706",
    "block": "block dense { … }",
    "use": 'use "blocks.arch"',
    "train": "train { epochs 10 }",
}
"""The lines that are no layers, and how they go on."""
MOST_COLUMNS = 100


@dataclass(frozen=True)
class Sheet:
    """The statements of one network."""

    file: File
    column: str
    title: Title | None
    input: Input | None
    hidden: tuple[tuple[Hidden, tuple[Layer, ...]], ...]
    defaults: tuple[tuple[Default, tuple[Option, ...]], ...]
    params: tuple[tuple[File, Param, Expression | Quoted], ...]
    """Each with the file that it stands in; those of used files first."""
    expects: tuple[tuple[Expect, Word], ...]
    rows: tuple[Row, ...]
    blocks: Mapping[str, Definition]
    unused: tuple[Block, ...] = ()
    """Blocks of the file that nothing in it mentions."""
    index: int = 0
    train: Train | None = None

    def pick(self, row: Row) -> Cell:
        """The cell of a row that is this column's."""
        return _of(row.cells, self.index)


def column_names(file: File) -> tuple[str, ...]:
    """The columns of a table file; none for a file of one network."""
    for statement in file.statements:
        if isinstance(statement, Columns):
            return tuple(word.text for word in statement.names)
    return ()


@dataclass
class _Reader:
    complaints: Complaints
    columns: Columns | None = None

    def cells(self, cells: tuple[T, ...], part: object) -> None:
        """Refuse a number of cells that is neither one nor the number of columns."""
        if len(cells) == 1 or (self.columns and len(cells) == len(self.columns.names)):
            return
        if self.columns is None:
            remedy = "a `columns A | B` line before it makes a table; `,` puts one layer after another"
            self.complaints.say(
                "A0110", "`|` separates the cells of a table, and this file has no columns", part, remedy
            )
            return
        names = ", ".join(word.text for word in self.columns.names)
        remedy = f"one cell for each of {names}, `-` where a column has nothing; or a single cell for all"
        columns = Note(self.complaints.file.span(self.columns), f"{len(self.columns.names)} columns here")
        self.complaints.say("A0110", f"{len(cells)} cells for {len(self.columns.names)} columns", part, remedy, columns)

    def rows(self, rows: tuple[Row, ...]) -> None:
        for row in rows:
            self.cells(row.cells, row)
            if len(row.cells) > 1 and row.cells[0].items and row.cells[0].items[0].label:
                label = row.cells[0].items[0].label
                remedy = f"name the whole row with braces: `{label.text}: {{ … | … }}`"
                self.complaints.say("A0111", f"the label `{label.text}` would name one column only", label, remedy)
            for cell in row.cells:
                for item in cell.items:
                    for rows_inside in rows_within(item):
                        self.rows(rows_inside)


def rows_within(item: Item) -> Iterator[tuple[Row, ...]]:
    """The rows of a group, of each way of an `if`, of a head; the branches of a merge."""
    match item.body:
        case Group(rows=rows):
            yield rows
        case Merge(branches=branches) | Outputs(branches=branches):
            yield branches
        case Aux(body=body):
            yield body.rows
        case Choice() as choice:
            yield from _rows_of_choice(choice)


def _rows_of_choice(choice: Choice) -> Iterator[tuple[Row, ...]]:
    way: Choice | Group | None = choice
    while isinstance(way, Choice):
        yield way.then.rows
        way = way.otherwise
    if way is not None:
        yield way.rows


def read_sheets(file: File) -> tuple[tuple[Sheet, ...], tuple[Diagnostic, ...]]:
    """One sheet for each column (one in all without a table), and what is wrong with the statements.

    A file of blocks alone, made to be used by others, has no sheet.
    """
    reader = _Reader(Complaints(file))
    once: dict[type, object] = {}
    for statement in file.statements:
        if isinstance(statement, Title | Columns | Input | Train):
            _only_once(reader, once, statement)
        if isinstance(statement, Columns):
            reader.columns = reader.columns or statement
            _check_columns(reader, statement)
        elif isinstance(statement, Title) and (not statement.name or len(statement.name) > LONGEST_NAME):
            remedy = "write it as in `network VGG-E`" if not statement.name else "shorten it"
            reader.complaints.say("A0112", f"a network's name has 1 to {LONGEST_NAME} characters", statement, remedy)
    rows: list[Row] = []
    for statement in file.statements:
        match statement:
            case Row() if keyword := _keyword_alone(statement):
                remedy = f"write more on the line: `{EXAMPLES[keyword]}`"
                fault = "names no file in quotes" if keyword == "use" else "is followed by nothing"
                reader.complaints.say("A0112", f"`{keyword}` {fault}", statement, remedy)
            case Row():
                rows.append(statement)
            case Input() if rows and not file.broken:
                reader.complaints.say(
                    "A0113", "the input is said before the first layer", statement, "move this line up"
                )
            case Hidden(cells=cells) | Default(cells=cells) | Param(cells=cells) | Expect(cells=cells):
                reader.cells(cells, statement)
    reader.rows(tuple(rows))
    library = gather(file)
    for definition in library.blocks.values():
        owner = reader if definition.file is file else _Reader(Complaints(definition.file))
        owner.rows(definition.block.body.rows)
        if owner is not reader:
            library.problems += owner.complaints.found
    for param, used in library.params:
        if len(param.cells) > 1:
            library.complain("A0110", "a used file has no columns", used, param, "give the parameter one value")
    reader.complaints.found += library.problems
    if reader.complaints.found:
        return (), tuple(reader.complaints.found)
    if library.blocks and not once and not rows:
        return (), ()
    names = reader.columns.names if reader.columns else (Word("", 0, 0),)
    return tuple(_sheet(file, library, once, tuple(rows), word.text, index) for index, word in enumerate(names)), ()


def _sheet(
    file: File, library: Library, once: dict[type, object], rows: tuple[Row, ...], column: str, index: int
) -> Sheet:
    title, line, train = once.get(Title), once.get(Input), once.get(Train)
    statements = file.statements
    return Sheet(
        file,
        column,
        title if isinstance(title, Title) else None,
        line if isinstance(line, Input) else None,
        tuple((entry, _of(entry.cells, index)) for entry in statements if isinstance(entry, Hidden)),
        tuple((entry, _of(entry.cells, index)) for entry in statements if isinstance(entry, Default)),
        (
            *((used, param, param.cells[0]) for param, used in library.params),
            *((file, entry, _of(entry.cells, index)) for entry in statements if isinstance(entry, Param)),
        ),
        tuple((entry, _of(entry.cells, index)) for entry in statements if isinstance(entry, Expect)),
        rows,
        library.blocks,
        _unmentioned(file) if index == 0 else (),
        index,
        train if isinstance(train, Train) else None,
    )


def _unmentioned(file: File) -> tuple[Block, ...]:
    """The blocks whose names stand nowhere but where they are defined; comments do not count."""
    blocks = [statement for statement in file.statements if isinstance(statement, Block)]
    if not blocks:
        return ()
    code = (line[: comment_start(line)] for line in re.split(r"[\r\n]", file.source.text))
    mentioned = Counter(re.findall(r"[A-Za-z_]\w*", "\n".join(code)))
    return tuple(block for block in blocks if mentioned[block.name.text] == 1)


def _of(cells: tuple[T, ...], index: int) -> T:
    """A column's cell: its own, or the one that spans all columns."""
    return cells[index if len(cells) > 1 else 0]


def _keyword_alone(row: Row) -> str:
    """The word of a line that should have gone on; empty for a line of layers."""
    items = row.cells[0].items
    if len(row.cells) > 1 or len(items) != 1 or not items[0].layers or items[0].label:
        return ""
    first = items[0].layers[0].words[0]
    return first.text if isinstance(first, Word) and first.text in EXAMPLES else ""


def _only_once(reader: _Reader, once: dict[type, object], statement: Title | Columns | Input | Train) -> None:
    first = once.setdefault(type(statement), statement)
    if first is not statement:
        what = {Title: "`network` line", Columns: "`columns` line", Input: "`input` line", Train: "`train` recipe"}
        note = Note(reader.complaints.file.span(first), "the first one")
        remedy = "delete one of the two"
        reader.complaints.say("A0114", f"a file has one {what[type(statement)]}", statement, remedy, note)


def _check_columns(reader: _Reader, columns: Columns) -> None:
    if len(columns.names) > MOST_COLUMNS:
        message = f"a table of {len(columns.names):,} columns, and {MOST_COLUMNS} are allowed"
        reader.complaints.say("A0115", message, columns, "spread them over several files")
        return
    seen: dict[str, Word] = {}
    for word in columns.names:
        if not word.text or len(word.text) > LONGEST_NAME:
            reader.complaints.say(
                "A0115", "a column has no name", columns, "`columns A | B | C`, without `|` at the end"
            )
            return
        if word.text.lower() in seen:
            note = Note(reader.complaints.file.span(seen[word.text.lower()]), "the first one")
            reader.complaints.say("A0115", f"two columns are called `{word.text}`", word, "rename one", note)
        seen[word.text.lower()] = word
