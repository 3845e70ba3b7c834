"""Curves over epochs, drawn on a page: axes with round ticks, a line and a mark for each curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from archc.diagram.font import width
from archc.diagram.picture import Picture
from archc.diagram.scene import Line, Mark, Pen, Rect, Text
from archc.diagram.slide import PAGE, Heading, Sample, page
from archc.diagram.theme import Theme

WIDE, HIGH = 1500.0, 720.0
"""The plot's inside, in the units of a usual page."""
WORDS, NUMBERS = 26, 22
DASHES: tuple[tuple[float, ...], ...] = ((), (10, 6), (3, 5), (14, 5, 3, 5))


@dataclass(frozen=True)
class Curve:
    """A number for each epoch, from the first on."""

    name: str
    values: tuple[float, ...]


def plot(title: str, curves: Sequence[Curve], what: str, theme: Theme, size: tuple[int, int] = PAGE) -> Picture:
    """The picture of some curves; `what` names the vertical axis: `accuracy, %` for numbers in per cent."""
    drawn = [tuple(value for value in curve.values if isfinite(value)) for curve in curves]
    count = max(map(len, drawn), default=0)
    low, high, ticks = axis(
        min(map(min, filter(None, drawn)), default=0.0), max(map(max, filter(None, drawn)), default=1.0)
    )
    marks: list[Mark] = []
    for tick in ticks:
        y = HIGH * (1 - (tick - low) / (high - low))
        marks.append(Line(((0, y), (WIDE, y)), Pen(theme.faint, 0.75)))
        marks.append(Text(-14, y + NUMBERS * 0.36, f"{tick:g}", NUMBERS, theme.text, anchor="end"))
    for epoch in epochs(count):
        x = _across(epoch - 1, count)
        marks.append(Line(((x, HIGH), (x, HIGH + 8)), Pen(theme.line, 1.5)))
        marks.append(Text(x, HIGH + 36, str(epoch), NUMBERS, theme.text, anchor="middle"))
    marks.append(Line(((0, 0), (0, HIGH), (WIDE, HIGH)), Pen(theme.line, 2)))
    marks.append(Text(WIDE / 2, HIGH + 80, "epoch", WORDS, theme.text, anchor="middle"))
    marks.append(
        Text(-14 - max((width(f"{tick:g}", NUMBERS) for tick in ticks), default=0), -34, what, WORDS, theme.text)
    )
    for at, values in enumerate(drawn):
        points = tuple(
            (_across(place, count), HIGH * (1 - (value - low) / (high - low))) for place, value in enumerate(values)
        )
        pen = Pen(_colour(at, theme), 4, DASHES[at % len(DASHES)])
        if len(points) > 1:
            marks.append(Line(points, pen))
        if count <= 60:
            marks += [Rect(x - 5, y - 5, 10, 10, pen.colour) for x, y in points]
    legend = tuple(
        Sample(curve.name, DASHES[at % len(DASHES)], 4, _colour(at, theme)) for at, curve in enumerate(curves)
    )
    unit = "%" if what.endswith("%") else ""
    last = ", ".join(
        f"{curve.name} {values[-1]:.4g}{unit}" for curve, values in zip(curves, drawn, strict=True) if values
    )
    totals = f"after epoch {count}: {last}" if last else "no epoch yet"
    return Picture(page(Heading(title, totals, legend), marks, theme, size), title, theme.page)


def axis(least: float, most: float) -> tuple[float, float, tuple[float, ...]]:
    """The ends of an axis around some numbers, and its round ticks, four to nine of them."""
    if most - least < 1e-9 * max(abs(most), 1e-9):
        least, most = least - abs(least or 1.0) / 2, most + abs(most or 1.0) / 2
    rough = (most - least) / 6
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = floor(least / step + 1e-9), ceil(most / step - 1e-9)
    ticks = tuple(round(at * step, 12) for at in range(first, last + 1))
    return ticks[0], ticks[-1], ticks


def epochs(count: int) -> tuple[int, ...]:
    """The epochs that the horizontal axis names: the first, and a round number of them up to ten."""
    if count <= 10:
        return tuple(range(1, count + 1))
    _, _, ticks = axis(0.0, float(count))
    step = max(int(ticks[1] - ticks[0]), 1)
    return (1, *range(step, count + 1, step)) if step > 1 else tuple(range(1, count + 1))


def _across(place: int, count: int) -> float:
    return WIDE * place / (count - 1) if count > 1 else WIDE / 2


def _colour(at: int, theme: Theme) -> str:
    """One for each curve; the dashes tell them apart as well."""
    colours = (theme.paints["conv"].border, theme.paints["pool"].border, theme.paints["fc"].border, theme.text)
    return colours[at % len(colours)]
