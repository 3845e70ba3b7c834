"""A table on a page: in one panel if its words can be read there, else in several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import ceil

from archc.diagram.font import width
from archc.diagram.limits import DiagramLimit
from archc.diagram.picture import Picture
from archc.diagram.slide import Entry, Heading, page, room
from archc.diagram.tables.layout import PANEL_GAP, SMALL, TEXT, Layout, Spread
from archc.diagram.tables.model import Cell, Row, Sum, Table
from archc.diagram.tables.panel import Panel
from archc.diagram.theme import Theme

LEGIBLE, FLOOR = 20.0, 14.0
"""How large words should be on a slide, and how large they have to be."""
MOST_PANELS = 8
HIGH = 12
"""Lines that are kept together."""
TINT = 0.3
"""How much of the colour of pooling layers their rows have."""
LARGEST = 1.45
"""How much a table is enlarged at most; a small one is spread over the page instead."""
WIDEST, HIGHEST = 2.6, 2.2
"""How far a table is spread, as a factor of its width and of its height."""
LONG = (1e9, 240.0, 190.0)
"""From which width on words are broken: nowhere, and where the table is too wide otherwise."""


def draw(table: Table, theme: Theme, size: tuple[int, int]) -> Picture:
    """The picture of a table; raises DiagramLimit where no arrangement could be read."""
    tint = mixed(theme.page, theme.paints["pool"].fill, TINT)
    legend: list[Entry] = list(table.notes)
    if any(row.kind == "pool" for row in table.rows):
        legend.insert(0, replace(theme.paints["pool"], fill=tint))
    heading = Heading(table.title, table.totals, tuple(legend))
    space = room(heading, theme, size)
    layout, panels = _arranged(replace(table, rows=tuple(_cut(table.rows))), theme, space)
    spread = _spread(layout, panels, space)
    step = layout.panel_width(spread) + PANEL_GAP
    marks = [
        mark
        for number, rows in enumerate(panels)
        for mark in Panel(layout, tint, number * step, spread, rows, number).marks()
    ]
    return Picture(page(heading, marks, theme, size), f"{table.title}: table of configurations", theme.page)


def _arranged(table: Table, theme: Theme, space: tuple[float, float]) -> tuple[Layout, list[range]]:
    """The rows of each panel: as few panels as can be read well, else those that can be read best."""
    layout = best = Layout(table, theme)
    found: list[range] = []
    largest = 0.0
    for long, count in product(LONG, range(1, MOST_PANELS + 1)):
        if count == 1:
            layout = Layout(_broken(table, long), theme, calm=long == LONG[0])
        panels = layout.panels(count)
        scale = _scale(layout.size(panels, Spread()), space)
        if scale > largest:
            best, found, largest = layout, panels, scale
        if scale * TEXT >= LEGIBLE:
            break
    if largest * SMALL < FLOOR:
        lines = sum(len(cell.pieces) for row in table.rows for cell in row.cells)
        most = round(lines * (largest * SMALL / FLOOR) ** 2)
        help = "take fewer columns, or write the table as Markdown, LaTeX or HTML"
        raise DiagramLimit("lines", lines, most, help)
    return best, found


def _cut(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows, high ones in several, since a panel ends between two rows."""
    for row in rows:
        high = max(len(cell.pieces) for cell in row.cells)
        if high <= HIGH:
            yield row
            continue
        for at in range(0, high, HIGH):
            cells = tuple(
                replace(cell, pieces=cell.pieces[at : at + HIGH], size=cell.size if at + HIGH >= high else "")
                for cell in row.cells
            )
            if at:
                blank = ("",) * len(row.numbers)
                yield replace(row, cells=cells, numbers=blank, continues=True, label="", size="", note="")
            else:
                yield replace(row, cells=cells)


def _broken(table: Table, long: float) -> Table:
    """The table with long lines in several and short names for its sums; without the numbers of each row."""
    if long == LONG[0]:
        return table
    if table.numbers:
        table = replace(table, rows=tuple(replace(row, numbers=()) for row in table.rows))
    rows = tuple(replace(row, cells=tuple(_narrow(cell, long) for cell in row.cells)) for row in table.rows)
    sums = tuple(Sum(each.label.partition(" (")[0], each.rounded, each.rounded) for each in table.sums)
    return replace(table, rows=rows, sums=sums)


def _narrow(cell: Cell, long: float) -> Cell:
    if cell.span > 1:
        return cell
    return replace(
        cell,
        pieces=tuple(
            replace(piece, lines=tuple(lines), broken=True)
            if len(piece.lines) == 1 and len(lines := _lines(piece.lines[0], long)) > 1
            else piece
            for piece in cell.pieces
        ),
    )


def _lines(words: str, long: float) -> list[str]:
    """Words in lines that are not long, broken at blanks into parts of about one length."""
    count = ceil(width(words, TEXT) / long)
    most = width(words, TEXT) / count * 1.1
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and width(longer, TEXT) > most:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _scale(figure: tuple[float, float], space: tuple[float, float]) -> float:
    return min(space[0] / figure[0], space[1] / figure[1], LARGEST)


def _spread(layout: Layout, panels: Sequence[range], space: tuple[float, float]) -> Spread:
    """What brings a table closer to the proportions of the page."""
    wide, high = layout.size(panels, Spread())
    scale = _scale((wide, high), space)
    more_wide = min(space[0] / scale, wide * WIDEST) - wide
    more_high = min(space[1] / scale, high * HIGHEST) - high
    rows = max(map(len, panels)) + 2
    columns = len(panels) * layout.shares
    return Spread(max(more_wide, 0) / columns, max(more_high, 0) / rows)


def mixed(ground: str, colour: str, part: float) -> str:
    """A colour between two."""
    pairs = zip(*(bytes.fromhex(each[1:]) for each in (ground, colour)), strict=True)
    return "#" + "".join(f"{round(one + (other - one) * part):02X}" for one, other in pairs)
