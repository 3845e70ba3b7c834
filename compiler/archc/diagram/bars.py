"""Rows of names and sizes with bars in panels side by side, as wide as the page: the figure of a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from archc.diagram.axes import GAP, NOTHING, Axis, Unit, axis, share
from archc.diagram.font import fitted, width
from archc.diagram.repeats import COUNTED
from archc.diagram.scene import Group, Line, Mark, Pen, Rect, Text
from archc.diagram.shares import Share
from archc.diagram.theme import Paint, Theme
from archc.ir import people

SMALLEST, LARGEST = 20.0, 26.0
"""The size of names, which follows the height of the rows."""
SMALL, SMALL_LARGEST, NOTE = 17.0, 20.0, 17.0
"""The sizes of values, and of notes."""
LOWEST, HIGHEST = 26.0, 100.0
"""How high a row is."""
TITLE, TITLES, TICKS = 23.0, 56.0, 30.0
"""The size of a panel's title; the room above the rows for it, and for the axis."""
COLUMN_GAP, PANEL_GAP, EDGE = 22.0, 36.0, 8.0
MOST_NAME, MOST_WHAT = 0.19, 0.19
"""Of the figure's width."""
BAR, THICKEST = 0.62, 36.0
"""How thick a bar is: a part of the row's height, and at most."""
CURVE = 0.8
"""How wide the panel of a curve is, where the others are 1."""
DASHES = (6.0, 4.0)
PEAK = "peak"
LONGEST = 120
"""Characters of a name that are looked at."""
MOST_NAMED = 8
"""Layers that a tooltip lists."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What one column of bars shows."""

    title: str
    told: str
    """Below the title: the sum, and of what."""
    unit: Unit
    total: int
    amount: Callable[[Share], int]
    curve: bool = False
    """Whether it is a curve over the layers, with a peak: no shares of a total, and nothing between the rows."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row at its place, and what stands at the ends of its bars."""

    share: Share
    number: int
    top: float
    name: str
    what: str
    output: str


class Bars:
    """The figure: its rows are as high as the space lets them be."""

    def __init__(
        self,
        told: Sequence[Share],
        panels: Sequence[Panel],
        notes: Sequence[str],
        theme: Theme,
        space: tuple[float, float],
    ) -> None:
        self.panels, self.notes, self.theme = panels, notes, theme
        self.wide, high = space
        free = high - TITLES - TICKS - len(notes) * NOTE * 1.4 - EDGE
        apart = 0.5 * any(row.trained_only for row in told)
        self.height = max(LOWEST, min(HIGHEST, free / max(len(told) + apart, 1)))
        self.size = max(SMALLEST, min(LARGEST, self.height * 0.5))
        if any(width(_whole(row), self.size) > self.wide * MOST_NAME for row in told):
            self.size = SMALLEST
        self.small = max(SMALL, min(SMALL_LARGEST, self.height * 0.45))
        self.thick = min(self.height * BAR, THICKEST)
        self.rows = list(self._placed(told))
        self.bottom = self.rows[-1].top + self.height if self.rows else TITLES + TICKS

    def _placed(self, told: Sequence[Share]) -> Iterator[_Row]:
        top = TITLES + TICKS
        for at, row in enumerate(told):
            if row.trained_only and (at == 0 or not told[at - 1].trained_only):
                top += self.height / 2
            name = self._name(row, self.wide * MOST_NAME)
            times = f" ×{row.times}" if row.times > 1 else ""
            limit = self.wide * MOST_WHAT - width(times, self.small, bold=True)
            what = fitted(f"training only: {cut(row.what)}" if row.trained_only else cut(row.what), self.small, limit)
            yield _Row(row, at, top, name, what, people(row.output))
            top += self.height

    def _name(self, row: Share, limit: float) -> str:
        """The name of a row, without its outer groups where there is no room."""
        name = _whole(row)
        pieces = name.split(".")
        while width(name, self.size) > limit and len(pieces) > 1:
            pieces = pieces[1:]
            name = f"…{'.'.join(pieces)}"
        return fitted(name, self.size, limit)

    def marks(self) -> list[Mark]:
        """All of it, with the top left corner at the origin."""
        marks: list[Mark] = list(self._stripes())
        groups: list[list[Mark]] = [list(self._words(row)) for row in self.rows]
        for panel, left, right in self._columns():
            marks += self._panel(panel, left, right, groups)
        for row, inside in zip(self.rows, groups, strict=True):
            kind = f"kind-{row.share.kind}"
            marks.append(Group(tuple(inside), f"row-{row.number + 1}", kind, _tooltip(row.share)))
        return [*marks, *self._notes()]

    def _stripes(self) -> Iterator[Mark]:
        """Every other row on a tint, for the eye to follow; over the whole width, which the figure so fills."""
        tint = _mixed(self.theme.page, self.theme.faint, 0.13)
        yield Line(((0, TITLES + TICKS), (self.wide, TITLES + TICKS)), Pen(self.theme.faint, 1))
        for row in self.rows[::2]:
            yield Rect(0, row.top, self.wide, self.height, tint)
        yield Line(((0, self.bottom), (self.wide, self.bottom)), Pen(self.theme.faint, 1))
        base, size, muted = TITLES + TICKS - 10, SMALL - 1, self.theme.muted
        yield Text(EDGE, base, "layer", size, muted)
        yield Text(self._lefts()[1] - PANEL_GAP, base, "output", size, muted, anchor="end")

    # Words on the left -------------------------------------------------------------------------------

    def _lefts(self) -> tuple[float, float]:
        """Where the second column begins, and where the panels may."""
        names = max((width(row.name, self.size) for row in self.rows), default=0)
        whats = max((self._what_width(row) for row in self.rows), default=0)
        sizes = max((width(row.output, self.small) for row in self.rows), default=0)
        second = EDGE + names + COLUMN_GAP
        third = second + whats + COLUMN_GAP
        return second, third + max(sizes, width("output", self.small)) + PANEL_GAP

    def _what_width(self, row: _Row) -> float:
        return width(row.what, self.small) + (
            width(f" ×{row.share.times}", self.small, bold=True) if row.share.times > 1 else 0
        )

    def _words(self, row: _Row) -> Iterator[Mark]:
        second, panels = self._lefts()
        text, muted = self.theme.text, self.theme.muted
        yield Text(EDGE, self._base(row, self.size), row.name, self.size, text)
        base = self._base(row, self.small)
        yield Text(second, base, row.what, self.small, muted)
        if row.share.times > 1:
            x = second + width(f"{row.what} ", self.small)
            yield Text(x, base, f"×{row.share.times}", self.small, text, bold=True)
        yield Text(panels - PANEL_GAP, base, row.output, self.small, muted, anchor="end")

    def _base(self, row: _Row, size: float) -> float:
        return row.top + self.height / 2 + 0.26 * size + 0.1 * size

    # Panels ------------------------------------------------------------------------------------------

    def _columns(self) -> Iterator[tuple[Panel, float, float]]:
        left = self._lefts()[1]
        parts = [CURVE if panel.curve else 1.0 for panel in self.panels]
        each = (self.wide - EDGE - left - PANEL_GAP * (len(parts) - 1)) / sum(parts)
        for panel, part in zip(self.panels, parts, strict=True):
            yield panel, left, left + each * part
            left += each * part + PANEL_GAP

    def _panel(self, panel: Panel, left: float, right: float, groups: list[list[Mark]]) -> Iterator[Mark]:
        """The head of a panel; its bars go to the groups of their rows."""
        shown = [row for row in self.rows if not (panel.curve and row.share.trained_only)]
        ends = [self._end(panel, row) for row in shown]
        amounts = [panel.amount(row.share) for row in shown]
        scale = axis(amounts, [_long(end, self.small) for end in ends], panel.unit, right - left, SMALL - 1)
        yield from self._head(panel, left, right, scale)
        for row, amount, end in zip(shown, amounts, ends, strict=True):
            groups[row.number] += self._bar(panel, row, left, amount * scale.scale, end)
        if panel.curve and amounts:
            yield self._outline(shown, [left + amount * scale.scale for amount in amounts])

    def _head(self, panel: Panel, left: float, right: float, scale: Axis) -> Iterator[Mark]:
        theme = self.theme
        yield Text(
            left, 0.76 * TITLE, fitted(panel.title, TITLE, right - left, bold=True), TITLE, theme.text, bold=True
        )
        told = fitted(panel.told, SMALL + 1, right - left)
        yield Text(left, TITLE + 0.95 * SMALL + GAP, told, SMALL + 1, theme.muted)
        line = TITLES + TICKS
        for x, words in scale.ticks:
            yield Text(left + x, line - 10, words, SMALL - 1, theme.muted, anchor="middle")
            yield Line(((left + x, line - 6), (left + x, line)), Pen(theme.line, 1.5))
        yield Line(((left, line), (left, self.bottom)), Pen(theme.line, 1.5))

    def _end(self, panel: Panel, row: _Row) -> tuple[str, str]:
        """The value at the end of a bar, and its share of the total."""
        amount = panel.amount(row.share)
        if amount == 0:
            return NOTHING, ""
        apart = panel.curve or row.share.trained_only
        return panel.unit.at_bar(amount), "" if apart else share(amount, panel.total)

    def _bar(self, panel: Panel, row: _Row, left: float, long: float, end: tuple[str, str]) -> Iterator[Mark]:
        theme, base = self.theme, self._base(row, self.small)
        peak = panel.curve and row.share.peak
        if long and panel.curve:
            tint = _mixed(theme.page, theme.faint, 0.7 if peak else 0.4)
            yield Rect(left, row.top, long, self.height, tint)
            if peak and width(PEAK, self.small, bold=True) < long - 2 * GAP:
                yield Text(left + long - GAP, base, PEAK, self.small, theme.text, bold=True, anchor="end")
        elif long:
            paint = self._paint(row.share)
            pen = Pen(paint.border, 1.5, DASHES if row.share.trained_only else ())
            fill = "" if row.share.trained_only else paint.fill
            yield Rect(left, row.top + (self.height - self.thick) / 2, max(long, 1), self.thick, fill, pen)
        value, more = end
        x = left + long + GAP
        yield Text(x, base, value, self.small, theme.text, bold=peak)
        if more:
            yield Text(x + width(value, self.small) + GAP, base, more, self.small, theme.muted)

    def _paint(self, row: Share) -> Paint:
        paints = self.theme.paints.items()
        return next((paint for family, paint in paints if family == row.kind), self.theme.block)

    def _outline(self, rows: Sequence[_Row], xs: Sequence[float]) -> Mark:
        """The curve: down along each row, across between them."""
        points = [
            point for row, x in zip(rows, xs, strict=True) for point in ((x, row.top), (x, row.top + self.height))
        ]
        return Group((Line(tuple(points), Pen(self.theme.line, 2)),), kind="live")

    def _notes(self) -> Iterator[Mark]:
        for at, words in enumerate(self.notes):
            y = self.bottom + EDGE + NOTE * (1 + 1.4 * at)
            yield Text(EDGE, y, fitted(words, NOTE, self.wide - 2 * EDGE), NOTE, self.theme.muted)


def cut(text: str) -> str:
    """As much of a text as anybody reads."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _whole(row: Share) -> str:
    """`conv1`, or the first name and where the last differs: `layer1.0 … 2`."""
    first, last = cut(row.first), cut(row.last)
    return first if first == last else f"{first} … {_difference(first, last)}"


def _difference(first: str, last: str) -> str:
    """The end of a name that is not as in another one: `2` of `layer1.2` after `layer1.0`, `12` of `layer12`."""
    ones, others = first.split("."), last.split(".")
    while len(ones) > 1 and len(others) > 1 and ones[0] == others[0]:
        ones, others = ones[1:], others[1:]
    one, other = COUNTED.fullmatch(ones[0]), COUNTED.fullmatch(others[0])
    if one and other and one[1] == other[1] and len(ones) == len(others) == 1:
        return others[0][len(other[1]) :]
    return ".".join(others)


def _long(end: tuple[str, str], size: float) -> float:
    value, more = end
    return width(value, size) + GAP + width(more, size) if more else width(value, size, bold=True)


def _mixed(one: str, other: str, part: float) -> str:
    """A colour between two, as `#rrggbb`."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(low + (high - low) * part):02X}" for low, high in pairs)


def _tooltip(row: Share) -> str:
    """Names, what it is, its exact numbers, and where it is written."""
    name = cut(row.first) if row.first == row.last else f"{cut(row.first)} … {cut(row.last)}"
    times = f" ×{row.times}" if row.times > 1 else ""
    node = row.layers[0].node
    lines = [
        f"{name}: {cut(row.what)}{times}{' (in training only)' if row.trained_only else ''}",
        f"{people(node.x)} → {people(row.output)}",
        f"{row.params:,} parameters",
        f"{row.macs:,} MACs",
        f"{row.activation_bytes:,} bytes of activations for one example",
    ]
    if not row.trained_only:
        lines.append(f"at most {row.live:,} bytes alive at inference")
    if len(row.layers) > 1:
        told = ", ".join(cut(layer.name) for layer in row.layers[:MOST_NAMED])
        lines.append(f"{len(row.layers)} layers: {told}{', …' if len(row.layers) > MOST_NAMED else ''}")
    if node.span is not None:
        lines.append(f"line {node.span.source.position(node.span.start)[0]} of {cut(node.span.source.name)}")
    return "\n".join(lines)
