"""A table as Markdown: a line for each line of a cell; what spans all columns is repeated in each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from archc.cost.table import cells_wide
from archc.diagram.tables.model import Cell, Piece, Row, Table

_SPECIAL = re.compile(r"[\\`*\[\]<>|#~$&!{}@]|(?<!\w)_|_(?!\w)|:(?=//|\S*@)|(?<=www)\.", re.IGNORECASE)


def markdown(table: Table) -> str:
    """The text of a table, with its notes below."""
    stubs = len(table.stubs)
    heads = [*table.stubs, *(escaped(head.name) for head in table.heads), *table.numbers]
    blank = [""] * len(table.numbers)
    lines = [[*table.sum_stub(""), *(head.depth for head in table.heads), *blank]]
    for row in table.rows:
        lines += _lines(table, row)
    if table.numbers:
        lines.append([*table.sum_stub("total"), "", *(each.rounded[0] for each in table.sums)])
    else:
        lines += [[*table.sum_stub(each.label), *each.values] for each in table.sums]
    marks = [*[":--"] * stubs, *[":-:"] * len(table.heads), *["--:"] * len(table.numbers)]
    notes = "".join(f"\n{escaped(_sentence(note))}\n" for note in table.notes)
    return "\n".join(_columns([heads, marks, *lines])) + "\n" + notes


def escaped(text: str) -> str:
    """Text that means itself: no emphasis, no code, no links, no HTML, no end of a cell."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], text.replace("\n", " "))


def _sentence(note: str) -> str:
    return note[0].upper() + note[1:] + "."


def _lines(table: Table, row: Row) -> list[list[str]]:
    cells = list(row.cells) * len(table.heads) if row.spans else row.cells
    columns = [[word] for word in map(escaped, table.stub(row))]
    columns += map(_cell, cells)
    columns += [[word] for word in row.numbers or [""] * len(table.numbers)]
    return [list(line) for line in zip_longest(*columns, fillvalue="")]


def _cell(cell: Cell) -> list[str]:
    return [*map(_piece, cell.pieces), *([f"→ {cell.size}"] if cell.size else [])] or [""]


def _piece(piece: Piece) -> str:
    text = "; ".join(map(escaped, piece.lines))
    text = f"[{text}]" if piece.bracketed else text
    times = f"×{piece.times}" if piece.times > 1 else ""
    note = f" ({escaped(piece.note)})" if piece.note else ""
    match piece.added:
        case "all":
            return f"**{f'{text} {times}'.rstrip()}**{note}"
        case "times":
            return f"{text} **{times}**{note}"
    return f"{text} {times}".rstrip() + note


def _columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows with their cells one below the other in the text too."""
    widths = [max(map(cells_wide, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (wide - cells_wide(cell)) for cell, wide in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"
