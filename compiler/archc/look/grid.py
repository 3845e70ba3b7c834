"""Tiles in rows and columns, in panels with a title, on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from archc.diagram.scene import Image, Mark, Pen, Rect, Text
from archc.diagram.theme import Theme
from archc.look.pixels import Levels, png

TITLE, NOTE = 26, 20
GAP = 0.12
"""Between two tiles, as a part of one."""


@dataclass(frozen=True)
class Panel:
    """Tiles of one size, and what they show."""

    title: str
    tiles: tuple[Levels, ...]
    note: str = ""
    """The scale."""


def in_panels(panels: Sequence[Panel], theme: Theme, room: tuple[float, float]) -> list[Mark]:
    """Panels side by side, their tiles as large as the room allows."""
    wide, high = room
    gap = 40.0
    each = (wide - gap * (len(panels) - 1)) / len(panels)
    inside = high - TITLE - NOTE - 60
    marks: list[Mark] = []
    for at, panel in enumerate(panels):
        left = at * (each + gap)
        found, reached = in_grid(panel.tiles, left, TITLE + 18, each, inside, theme)
        middle = left + each / 2
        marks.append(Text(middle, TITLE * 0.8, panel.title, TITLE, theme.text, bold=True, anchor="middle"))
        marks += found
        if panel.note:
            marks.append(Text(middle, reached + NOTE + 14, panel.note, NOTE, theme.muted, anchor="middle"))
    return marks


def in_grid(
    tiles: Sequence[Levels], left: float, top: float, wide: float, high: float, theme: Theme
) -> tuple[list[Mark], float]:
    """Tiles in as many columns as make them largest, in the middle of the width; and where they end."""
    height, width, _ = tiles[0].shape
    count = len(tiles)
    best, columns = 0.0, 1
    for tried in range(1, count + 1):
        rows = ceil(count / tried)
        unit = min(wide / (tried * width * (1 + GAP)), high / (rows * height * (1 + GAP)))
        if unit > best * 1.0001:
            best, columns = unit, tried
    across, down = width * best, height * best
    begin = left + (wide - columns * across * (1 + GAP) + across * GAP) / 2
    marks: list[Mark] = []
    for number, levels in enumerate(tiles):
        x = begin + number % columns * across * (1 + GAP)
        y = top + number // columns * down * (1 + GAP)
        marks += framed(levels, x, y, across, down, theme)
    return marks, top + ceil(count / columns) * down * (1 + GAP)


def framed(
    levels: Levels, left: float, top: float, wide: float, high: float, theme: Theme, *, crisp: bool = True
) -> tuple[Image, Rect]:
    """One tile in a frame, without which one of the page's colour would look like a gap."""
    return Image(left, top, wide, high, png(levels), crisp), Rect(left, top, wide, high, "", Pen(theme.faint, 0.75))
