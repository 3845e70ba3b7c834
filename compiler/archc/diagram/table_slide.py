"""A table on a page: in one panel if its words can be read there, else in several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from archc.diagram.limits import DiagramLimit
from archc.diagram.picture import Picture
from archc.diagram.slide import LARGEST, Entry, Heading, page, room
from archc.diagram.table_layout import PANEL_GAP, TEXT, Layout, Spread
from archc.diagram.table_model import Table
from archc.diagram.table_panel import Panel
from archc.diagram.theme import Theme

LEGIBLE, FLOOR = 20.0, 14.0
"""How large words should be on a slide, and how large they have to be."""
MOST_PANELS = 8
TINT = 0.38
"""How much of the colour of pooling layers their rows have."""
WIDEST, HIGHEST = 1.7, 1.9
"""How far a table is spread to fill a page, as a factor of its width and of its height."""


def draw(table: Table, theme: Theme, size: tuple[int, int]) -> Picture:
    """The picture of a table; raises DiagramLimit where no arrangement could be read."""
    tint = mixed(theme.page, theme.paints["pool"].fill, TINT)
    legend: list[Entry] = list(table.notes)
    if any(row.kind == "pool" for row in table.rows):
        legend.insert(0, replace(theme.paints["pool"], fill=tint))
    heading = Heading(table.title, table.totals, tuple(legend))
    space = room(heading, theme, size)
    layout = Layout(table, theme)
    panels = _panels(layout, space)
    spread = _spread(layout, panels, space)
    step = layout.panel_width(spread) + PANEL_GAP
    marks = [
        mark
        for number, rows in enumerate(panels)
        for mark in Panel(layout, tint, number * step, spread, rows, number).marks()
    ]
    return Picture(page(heading, marks, theme, size), f"{table.title}: table of configurations", theme.page)


def _panels(layout: Layout, space: tuple[float, float]) -> list[range]:
    """The rows of each panel: as few panels as can be read well, else those that can be read best."""
    best: list[range] = []
    largest = 0.0
    for count in range(1, MOST_PANELS + 1):
        panels = layout.panels(count)
        scale = _scale(layout.size(panels, Spread()), space)
        if scale * TEXT >= LEGIBLE:
            return panels
        if scale > largest:
            best, largest = panels, scale
    if largest * TEXT < FLOOR:
        lines = sum(len(cell.pieces) for row in layout.table.rows for cell in row.cells)
        raise DiagramLimit("lines on one slide", lines, round(lines * (largest * TEXT / FLOOR) ** 2))
    return best


def _scale(figure: tuple[float, float], space: tuple[float, float]) -> float:
    return min(space[0] / figure[0], space[1] / figure[1], LARGEST)


def _spread(layout: Layout, panels: Sequence[range], space: tuple[float, float]) -> Spread:
    """What brings a table closer to the proportions of the page."""
    wide, high = layout.size(panels, Spread())
    scale = _scale((wide, high), space)
    more_wide = min(space[0] / scale, wide * WIDEST) - wide
    more_high = min(space[1] / scale, high * HIGHEST) - high
    rows = max(map(len, panels)) + 2
    columns = len(panels) * (len(layout.columns) - len(layout.stubs))
    return Spread(max(more_wide, 0) / columns, max(more_high, 0) / rows)


def mixed(ground: str, colour: str, part: float) -> str:
    """A colour between two."""
    pairs = zip(*(bytes.fromhex(each[1:]) for each in (ground, colour)), strict=True)
    return "#" + "".join(f"{round(one + (other - one) * part):02X}" for one, other in pairs)
