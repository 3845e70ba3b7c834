"""Boxes in cabinet projection: how large a volume is drawn, and its three faces.

The flow runs along x to the right, height along y, width along z, which recedes to the upper right at 45° and at
half its length. Boxes are centred on the line of the flow, so that each stands before the middle of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import cos, log2, pi, sqrt
from typing import Literal

from archc.diagram.scene import Mark, Pen, Point, Polygon
from archc.diagram.theme import Paint
from archc.diagram.volume.stations import Station
from archc.ir import Shape

Scale = Literal["sqrt", "log", "linear"]
SCALES: dict[Scale, Callable[[float], float]] = {
    "sqrt": sqrt,
    "log": lambda value: log2(1 + value),
    "linear": lambda value: value,
}
SIGNS: dict[Scale, str] = {"sqrt": "√", "log": "log₂ ", "linear": ""}
RECEDING = 0.5 * cos(pi / 4)
"""How far a unit of width goes to the right, and as far up."""
POOL = 0.35
"""The depth of pools, which only pass channels on, as a part of what it would be."""
LEAST = 4.0
FEW = 16
SHEET = 10.0
BAR, BAR_WIDEST, BAR_PART = 12.0, 30.0, 0.045
"""The thickness of a bar: at least, at most, and as a part of the largest side."""
BAR_HEIGHT = 0.8
"""The highest bar, as a part of the largest side."""
APART = 12.0
"""Between the banks of a volume."""
OUTLINE = 1.25
LIGHTER, DARKER = 0.4, 0.78


@dataclass(frozen=True, slots=True)
class Solid:
    """A box: along the flow, its height, its width, and how far its middle lies below the line of the flow."""

    depth: float
    height: float
    width: float
    middle: float = 0.0

    @property
    def back(self) -> float:
        """How far its back lies to the right of its middle, and above it."""
        return RECEDING * self.width / 2

    @property
    def half(self) -> float:
        """From its middle to its highest point, and to its lowest."""
        return self.height / 2 + self.back


@dataclass(frozen=True, slots=True)
class Measures:
    """How large the volumes of one network are drawn."""

    scale: Scale
    longest: int
    """The longest side of a map or a sequence, in positions."""
    deepest: int
    """The most channels, or 16 where there are fewer, so that no picture of one channel is a cube."""
    most: int
    """The most units of a vector."""

    def solids(self, station: Station, side: float, depth: float) -> tuple[Solid, ...]:
        """The boxes of a volume, from the lowest up; `side` and `depth` are those of the largest, in pixels."""
        if station.fan:
            one = [self._solid(each, each.shape, side, depth) for each in reversed(station.fan)]
        elif station.banks > 1:
            channels, *sides = station.shape
            one = [self._solid(station, (channels // station.banks, *sides), side, depth)] * station.banks
        else:
            return (self._solid(station, station.shape, side, depth),)
        return _stacked(one)

    def _solid(self, station: Station, shape: Shape, side: float, depth: float) -> Solid:
        sizes = SCALES[self.scale]
        thinner = POOL if station.kind == "pool" else 1.0

        def long(positions: int) -> float:
            return max(LEAST, side * sizes(positions) / sizes(self.longest))

        def deep(channels: int) -> float:
            return max(LEAST, thinner * depth * sizes(channels) / sizes(self.deepest))

        match shape:
            case (channels, height, width):
                return Solid(deep(channels), long(height), long(width))
            case (tokens, channels):
                return Solid(deep(channels), long(tokens), SHEET)
        thick = min(BAR_WIDEST, max(BAR, BAR_PART * side))
        return Solid(thick, max(LEAST, BAR_HEIGHT * side * log2(1 + shape[0]) / log2(1 + self.most)), thick)


def _stacked(solids: Sequence[Solid]) -> tuple[Solid, ...]:
    """Boxes one above the other, the lowest first."""
    total = sum(2 * solid.half for solid in solids) + APART * (len(solids) - 1)
    below = total / 2
    found = []
    for solid in solids:
        found.append(Solid(solid.depth, solid.height, solid.width, below - solid.half))
        below -= 2 * solid.half + APART
    return tuple(found)


def measures(row: Iterable[Station], scale: Scale) -> Measures:
    """The measures of a network's volumes."""
    shapes = [each.shape for station in row for each in (station.fan or (station,))]
    maps = [shape for shape in shapes if len(shape) == 3]
    sheets = [shape for shape in shapes if len(shape) == 2]
    return Measures(
        scale,
        max([1, *(side for shape in maps for side in shape[1:]), *(shape[0] for shape in sheets)]),
        max([FEW, *(shape[0] for shape in maps), *(shape[1] for shape in sheets)]),
        max([1, *(shape[0] for shape in shapes if len(shape) == 1)]),
    )


def faces(solid: Solid, left: float, line: float, paint: Paint) -> tuple[Mark, ...]:
    """The top, the side where the flow comes out, and the front of a box that begins at `left` of the line's height."""
    x, y = left - solid.back, line + solid.middle + solid.back
    right, top, over = x + solid.depth, y - solid.height / 2, 2 * solid.back
    bottom = top + solid.height
    pen = Pen(paint.border, OUTLINE)
    return (
        Polygon(((x, top), (x + over, top - over), (right + over, top - over), (right, top)), lighter(paint.fill), pen),
        Polygon(
            ((right, top), (right + over, top - over), (right + over, bottom - over), (right, bottom)),
            darker(paint.fill),
            pen,
        ),
        Polygon(((x, top), (right, top), (right, bottom), (x, bottom)), paint.fill, pen),
    )


def on_side(solid: Solid, left: float, line: float, place: Point) -> Point:
    """A point of the side where the flow comes out: what part of the width from the front, of the height from above."""
    across, down = place
    x = left + solid.depth - solid.back + 2 * solid.back * across
    y = line + solid.middle + solid.back - solid.height / 2 + solid.height * down - 2 * solid.back * across
    return x, y


def lighter(colour: str) -> str:
    """A colour mixed with white."""
    return _mixed(colour, lambda part: part + (255 - part) * LIGHTER)


def darker(colour: str) -> str:
    """A colour in the shade."""
    return _mixed(colour, lambda part: part * DARKER)


def _mixed(colour: str, change: Callable[[int], float]) -> str:
    return "#" + "".join(f"{round(change(int(colour[at : at + 2], 16))):02X}" for at in (1, 3, 5))
