"""A picture before it is written: rectangles, polygons, curves and words at places, in groups with a meaning.

Units are those of the page: x to the right, y downwards. Colours are `#rrggbb`. Every view makes a scene;
`slide` puts it on a page, `svg` writes it down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Literal

from archc.diagram.font import ASCENT, DESCENT, width

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Pen:
    """How an outline is drawn."""

    colour: str
    width: float = 1.5
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle, perhaps with round corners; `fill` is empty for none."""

    left: float
    top: float
    width: float
    height: float
    fill: str = ""
    pen: Pen | None = None
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed outline of straight sides."""

    points: tuple[Point, ...]
    fill: str = ""
    pen: Pen | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A way of straight pieces."""

    points: tuple[Point, ...]
    pen: Pen


@dataclass(frozen=True, slots=True)
class Curve:
    """A way of cubic Bézier pieces: its beginning, then three points for each piece."""

    points: tuple[Point, ...]
    pen: Pen


@dataclass(frozen=True, slots=True)
class Text:
    """One line of words; `y` is its baseline, `x` where it begins, has its middle or ends."""

    x: float
    y: float
    words: str
    size: float
    colour: str
    bold: bool = False
    anchor: Anchor = "start"

    @property
    def box(self) -> Rect:
        """The room that the words take."""
        wide = width(self.words, self.size, bold=self.bold)
        left = self.x - {"start": 0.0, "middle": wide / 2, "end": wide}[self.anchor]
        return Rect(left, self.y - ASCENT * self.size, wide, (ASCENT + DESCENT) * self.size)


@dataclass(frozen=True, slots=True)
class Image:
    """A small picture of pixels, as the bytes of a PNG; `crisp` ones keep their pixels square when they grow."""

    left: float
    top: float
    width: float
    height: float
    png: bytes
    crisp: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Marks that belong together: a layer, a legend. `tooltip` is shown when somebody points at it."""

    marks: tuple[Mark, ...]
    name: str = ""
    """Unique in the picture, `[a-z0-9-]`; the element's `id`."""
    kind: str = ""
    """What it is, `[a-z-]`; the element's `class`."""
    tooltip: str = ""


Mark = Rect | Polygon | Line | Curve | Text | Image | Group
Plain = Rect | Polygon | Line | Curve | Text | Image


@dataclass(frozen=True, slots=True)
class Scene:
    """Marks on a page; what is drawn first lies below."""

    width: float
    height: float
    marks: tuple[Mark, ...]


def moved(mark: Mark, dx: float, dy: float, scale: float = 1.0) -> Mark:
    """A mark made larger by a factor, from the origin, and then moved."""

    def at(point: Point) -> Point:
        return point[0] * scale + dx, point[1] * scale + dy

    match mark:
        case Rect():
            left, top = at((mark.left, mark.top))
            wide, high = mark.width * scale, mark.height * scale
            return Rect(left, top, wide, high, mark.fill, _scaled(mark.pen, scale), mark.radius * scale)
        case Polygon():
            return Polygon(tuple(map(at, mark.points)), mark.fill, _scaled(mark.pen, scale))
        case Line() | Curve():
            pen = _scaled(mark.pen, scale)
            assert pen is not None
            return type(mark)(tuple(map(at, mark.points)), pen)
        case Text():
            x, y = at((mark.x, mark.y))
            return replace(mark, x=x, y=y, size=mark.size * scale)
        case Image():
            left, top = at((mark.left, mark.top))
            return replace(mark, left=left, top=top, width=mark.width * scale, height=mark.height * scale)
        case Group():
            return replace(mark, marks=tuple(moved(each, dx, dy, scale) for each in mark.marks))


def _scaled(pen: Pen | None, scale: float) -> Pen | None:
    if pen is None or scale == 1.0:
        return pen
    return Pen(pen.colour, pen.width * scale, tuple(each * scale for each in pen.dash))


def flat(marks: Iterable[Mark]) -> Iterator[Plain]:
    """All marks, out of their groups, in the order in which they are drawn."""
    for mark in marks:
        if isinstance(mark, Group):
            yield from flat(mark.marks)
        else:
            yield mark


def bounds(marks: Iterable[Mark]) -> Rect:
    """The smallest rectangle around marks, words by their metrics and curves by their control points."""
    corners = [corner for mark in flat(marks) for corner in _corners(mark)]
    if not corners:
        return Rect(0, 0, 0, 0)
    xs, ys = zip(*corners, strict=True)
    return Rect(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def _corners(mark: Plain) -> Sequence[Point]:
    match mark:
        case Rect() | Image() | Text():
            box = mark.box if isinstance(mark, Text) else mark
            return (box.left, box.top), (box.left + box.width, box.top + box.height)
        case _:
            return mark.points


def arrowhead(tip: Point, towards: Point, colour: str, length: float = 10.0) -> Polygon:
    """A filled head at the tip of a way that goes `towards` some direction (a vector)."""
    size = hypot(*towards) or 1.0
    dx, dy = towards[0] / size * length, towards[1] / size * length
    half = 0.38
    base = tip[0] - dx, tip[1] - dy
    left, right = (base[0] - dy * half, base[1] + dx * half), (base[0] + dy * half, base[1] - dx * half)
    return Polygon((tip, left, right), colour)
