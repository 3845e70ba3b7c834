"""A page for a figure: name, totals and legend on top, and the figure as large as it goes below them.

The heading is as large on every page; only the figure is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from archc.diagram.font import fitted, width
from archc.diagram.scene import Group, Line, Mark, Pen, Rect, Scene, Text, bounds, moved
from archc.diagram.theme import Paint, Theme

PAGE = (1920, 1080)
MARGIN = 36
TITLE, TOTALS, LEGEND = 44, 26, 22
GAP = 14
SWATCH = (34, 22)
LARGEST = 3.0
"""How much a figure is enlarged at most; three boxes need not fill a wall."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A line as the legend shows it."""

    words: str
    dash: tuple[float, ...] = ()
    width: float = 2.0


Entry = Paint | Sample | str
"""What a legend explains: a colour, a line, or a sign that is in the words themselves."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above a figure."""

    title: str
    totals: str
    legend: tuple[Entry, ...] = ()


def page(heading: Heading, figure: Sequence[Mark], theme: Theme, size: tuple[int, int] = PAGE) -> Scene:
    """A page with a figure, which keeps its proportions; its largest scale is `LARGEST`."""
    wide, high = size
    # Everything on a page keeps its share of the page, so that a smaller one is the same picture.
    unit = min(wide / PAGE[0], high / PAGE[1])
    head, bottom = head_marks(heading, theme, wide / unit)
    top = bottom + GAP
    room_wide, room_high = wide / unit - 2 * MARGIN, high / unit - top - MARGIN
    around = bounds(figure)
    scale = min(room_wide / max(around.width, 1), room_high / max(around.height, 1), LARGEST)
    left = (wide / unit - around.width * scale) / 2 - around.left * scale
    down = top + (room_high - around.height * scale) / 2 - around.top * scale
    placed = [moved(mark, left, down, scale) for mark in figure]
    return Scene(wide, high, tuple(moved(mark, 0, 0, unit) for mark in (*head, *placed)))


def room(heading: Heading, theme: Theme, size: tuple[int, int] = PAGE) -> tuple[float, float]:
    """The width and height that a figure has on a page of the usual size in these proportions."""
    unit = min(size[0] / PAGE[0], size[1] / PAGE[1])
    _, bottom = head_marks(heading, theme, size[0] / unit)
    return size[0] / unit - 2 * MARGIN, size[1] / unit - bottom - GAP - MARGIN


def head_marks(heading: Heading, theme: Theme, wide: float) -> tuple[list[Mark], float]:
    """The marks of a heading in the middle of a page, and where it ends."""
    most = wide - 2 * MARGIN
    baseline = MARGIN + TITLE * 0.76
    title = fitted(heading.title, TITLE, most, bold=True)
    named: list[Mark] = [Text(wide / 2, baseline, title, TITLE, theme.text, bold=True, anchor="middle")]
    if heading.totals:
        baseline += TOTALS + GAP
        words = fitted(heading.totals, TOTALS, most)
        named.append(Text(wide / 2, baseline, words, TOTALS, theme.muted, anchor="middle"))
    marks: list[Mark] = [Group(tuple(named), kind="heading")]
    if heading.legend:
        baseline += GAP / 2
        for row in _rows(heading.legend, most):
            baseline += LEGEND + GAP
            marks.append(Group(tuple(_legend(row, theme, wide / 2, baseline)), kind="legend"))
    return marks, baseline + 0.24 * TITLE


def _rows(entries: Sequence[Entry], most: float) -> list[list[Entry]]:
    """The entries in as many lines as they need."""
    rows: list[list[Entry]] = [[]]
    for entry in entries:
        if rows[-1] and _wide([*rows[-1], entry]) > most:
            rows.append([])
        rows[-1].append(entry)
    return rows


def _wide(entries: Iterable[Entry]) -> float:
    return sum(_entry_width(entry) + 2 * GAP for entry in entries) - 2 * GAP


def _entry_width(entry: Entry) -> float:
    if isinstance(entry, str):
        return width(entry, LEGEND)
    return SWATCH[0] + GAP / 2 + width(entry.words, LEGEND)


def _legend(entries: Sequence[Entry], theme: Theme, middle: float, baseline: float) -> Iterable[Mark]:
    x = middle - _wide(entries) / 2
    for entry in entries:
        words = entry if isinstance(entry, str) else entry.words
        at = x
        match entry:
            case Paint():
                yield Rect(x, baseline - SWATCH[1] + 3, *SWATCH, entry.fill, Pen(entry.border, 2))
            case Sample():
                y = baseline - LEGEND * 0.35
                yield Line(((x, y), (x + SWATCH[0], y)), Pen(theme.line, entry.width, entry.dash))
        if not isinstance(entry, str):
            at += SWATCH[0] + GAP / 2
        yield Text(at, baseline, words, LEGEND, theme.text)
        x += _entry_width(entry) + 2 * GAP
