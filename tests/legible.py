"""Whether a picture can go on a slide: what a reviewer would measure on it, measured on its SVG.

The criteria are those of the project's report on diagrams: nothing touches the edge, nothing overlaps, words
are large enough and stand out, no arrow runs through a box, the figure fills the page. Words are as wide as
fontTools says they are in the shipped font, not as the compiler thinks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, pairwise
from math import ceil, dist
from xml.etree import ElementTree

from fontTools.ttLib import TTFont

from archc.diagram.font import FILES, folder

EDGE = 16
"""Pixels between words and the edge of the page."""
NAME, SIZE, FLOOR = 20, 16, 14
"""Pixels: what a box is called, sizes such as 56×56×64, and anything at all."""
PADDING = 3.5
TEXT_CONTRAST, LINE_CONTRAST = 4.5, 3.0
FILLED = 0.8
SHAPE = re.compile(r"\d+×\d+(×\d+)?$")
NAMESPACE = "{http://www.w3.org/2000/svg}"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def shrunk(self, by: float) -> Box:
        return Box(self.left + by, self.top + by, self.right - by, self.bottom - by)

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box, padding: float = 0.0) -> bool:
        return (
            self.left + padding <= other.left
            and other.right <= self.right - padding
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def has(self, point: Point) -> bool:
        return self.left < point[0] < self.right and self.top < point[1] < self.bottom


@dataclass(frozen=True)
class Words:
    """A line of text as it is drawn."""

    text: str
    size: float
    colour: str
    box: Box
    order: int
    kinds: tuple[str, ...]
    """The classes of the groups around it, the innermost last."""


@dataclass(frozen=True)
class Area:
    """A filled or outlined shape."""

    points: tuple[Point, ...]
    fill: str
    stroke: str
    order: int
    kinds: tuple[str, ...]

    @property
    def box(self) -> Box:
        xs, ys = zip(*self.points, strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))

    def has(self, point: Point) -> bool:
        """Whether a point lies inside (even-odd)."""
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in zip(self.points, (*self.points[1:], self.points[0]), strict=True):
            if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
                inside = not inside
        return inside


@dataclass(frozen=True)
class Way:
    """A line or a curve, as points close to each other."""

    points: tuple[Point, ...]
    stroke: str
    kinds: tuple[str, ...]


@dataclass
class Page:
    """An SVG, taken apart."""

    width: float
    height: float
    colour: str = "#FFFFFF"
    words: list[Words] = field(default_factory=list)
    areas: list[Area] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    images: list[Box] = field(default_factory=list)
    """Pixels: neither words nor borders, but nothing may lie on them."""
    names: list[str] = field(default_factory=list)
    tooltips: dict[str, str] = field(default_factory=dict)
    """What is said of each named group."""
    legend: list[str] = field(default_factory=list)


def read(svg: str) -> Page:
    """The page in an SVG; anything that is neither a mark nor a group of marks is refused."""
    root = ElementTree.fromstring(svg)
    page = Page(float(root.attrib["width"]), float(root.attrib["height"]))
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    _walk(root, (), page)
    return page


def _walk(element: ElementTree.Element, kinds: tuple[str, ...], page: Page) -> None:
    for child in element:
        order = len(page.words) + len(page.areas)
        match child.tag.removeprefix(NAMESPACE):
            case "title":
                assert not len(child)
            case "g":
                told = child.find(f"{NAMESPACE}title")
                if name := child.get("id", ""):
                    page.names.append(name)
                    page.tooltips[name] = (told.text or "") if told is not None else ""
                _walk(child, (*kinds, *filter(None, [child.get("class", "")])), page)
            case "rect":
                x, y, wide, high = (float(child.get(name, "0")) for name in ("x", "y", "width", "height"))
                if (wide, high) == (page.width, page.height):
                    page.colour = child.attrib["fill"]
                    continue
                corners = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
                page.areas.append(Area(corners, child.attrib["fill"], child.get("stroke", ""), order, kinds))
            case "image":
                x, y, wide, high = (float(child.attrib[name]) for name in ("x", "y", "width", "height"))
                page.images.append(Box(x, y, x + wide, y + high))
            case "polygon":
                page.areas.append(
                    Area(
                        tuple(_points(child.attrib["points"])),
                        child.attrib["fill"],
                        child.get("stroke", ""),
                        order,
                        kinds,
                    )
                )
            case "polyline":
                page.ways.append(Way(tuple(_dense(_points(child.attrib["points"]))), child.attrib["stroke"], kinds))
            case "path":
                page.ways.append(Way(tuple(_bezier(child.attrib["d"])), child.attrib["stroke"], kinds))
            case "text":
                words = _words(child, order, kinds)
                page.words.append(words)
                if "legend" in kinds:
                    page.legend.append(words.text)
            case other:
                raise AssertionError(f"<{other}> in a picture")


def _points(text: str) -> list[Point]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def _dense(points: Sequence[Point]) -> Iterator[Point]:
    for start, end in pairwise(points):
        steps = max(ceil(dist(start, end) / 2), 1)
        for step in range(steps + 1):
            yield start[0] + (end[0] - start[0]) * step / steps, start[1] + (end[1] - start[1]) * step / steps


def _bezier(text: str) -> Iterator[Point]:
    assert re.fullmatch(r"M[-\d. ,]+C[-\d. ,]+", text), text
    start, *rest = _points(text.replace("M", "").replace("C", ""))
    assert len(rest) % 3 == 0
    for at in range(0, len(rest), 3):
        one, two, end = rest[at : at + 3]
        steps = max(ceil((dist(start, one) + dist(one, two) + dist(two, end)) / 2), 1)
        for step in range(steps + 1):
            t = step / steps
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            yield (
                a * start[0] + b * one[0] + c * two[0] + d * end[0],
                a * start[1] + b * one[1] + c * two[1] + d * end[1],
            )
        start = end


def _words(element: ElementTree.Element, order: int, kinds: tuple[str, ...]) -> Words:
    text, size = element.text or "", float(element.attrib["font-size"])
    assert not len(element)
    wide = _width(text, element.get("font-weight") == "bold") * size
    left = (
        float(element.attrib["x"]) - {"start": 0, "middle": wide / 2, "end": wide}[element.get("text-anchor", "start")]
    )
    baseline = float(element.attrib["y"])
    box = Box(left, baseline - 0.76 * size, left + wide, baseline + 0.24 * size)
    return Words(text, size, element.attrib["fill"], box, order, kinds)


@cache
def _face(bold: bool) -> tuple[dict[int, str], dict[str, tuple[int, int]], int]:
    face = TTFont(folder() / FILES[bold])
    return face.getBestCmap(), dict(face["hmtx"].metrics), face["head"].unitsPerEm


def _width(text: str, bold: bool) -> float:
    glyphs, advances, units = _face(bold)
    return sum(advances[glyphs[ord(each)]][0] / units if ord(each) in glyphs else 1.0 for each in text)


# What is wrong with a page. ----------------------------------------------------------------------------


def faults(svg: str) -> list[str]:
    """Everything that a reviewer would complain about, in words."""
    page = read(svg)
    return [
        *_duplicates(page),
        *_edges(page),
        *_small(page),
        *_overlaps(page),
        *_crossings(page),
        *_covered(page),
        *_pale(page),
        *_empty(page),
    ]


def _duplicates(page: Page) -> Iterator[str]:
    if len(set(page.names)) < len(page.names):
        yield "two groups have one id"


def _edges(page: Page) -> Iterator[str]:
    inner = Box(EDGE, EDGE, page.width - EDGE, page.height - EDGE)
    for words in page.words:
        if not inner.holds(words.box):
            yield f"`{words.text}` touches the edge of the page"


def _small(page: Page) -> Iterator[str]:
    unit = min(page.width / 1920, page.height / 1080)
    for words in page.words:
        least = SIZE if SHAPE.search(words.text) else FLOOR
        if words.size < least * unit - 0.01:
            yield f"`{words.text}` is {words.size / unit:.1f} px, not {least}"
    largest: dict[tuple[str, ...], Words] = {}
    for words in page.words:
        if words.kinds and words.kinds[-1].startswith("kind-"):
            best = largest.get(words.kinds)
            largest[words.kinds] = words if best is None or words.size > best.size else best
    for words in largest.values():
        if words.size < NAME * unit - 0.01:
            yield f"a box's name, `{words.text}`, is {words.size / unit:.1f} px, not {NAME}"


def _overlaps(page: Page) -> Iterator[str]:
    for one, two in combinations(page.words, 2):
        if one.box.shrunk(1).meets(two.box.shrunk(1)):
            yield f"`{one.text}` and `{two.text}` overlap"
    for words in page.words:
        core = words.box.shrunk(1.5)
        for area in page.areas:
            box = area.box
            if not (area.stroke or area.fill != "none") or not core.meets(box):
                continue
            if len(area.points) == 4 and _upright(area):
                if not box.holds(words.box, PADDING) and area.stroke:
                    yield f"`{words.text}` runs over the border of a shape"
            elif any(area.has(point) for point in _samples(core)) and not all(
                area.has(point) for point in _samples(core)
            ):
                yield f"`{words.text}` runs over the side of a shape"
        for way in page.ways:
            if any(core.has(point) for point in way.points):
                yield f"a line runs through `{words.text}`"


def _upright(area: Area) -> bool:
    box = area.box
    return set(area.points) == {
        (box.left, box.top),
        (box.right, box.top),
        (box.right, box.bottom),
        (box.left, box.bottom),
    }


def _samples(box: Box) -> list[Point]:
    xs = [box.left + (box.right - box.left) * step / 8 for step in range(9)]
    ys = [box.top, (box.top + box.bottom) / 2, box.bottom]
    return [(x, y) for x in xs for y in ys]


def _crossings(page: Page) -> Iterator[str]:
    """No arrow through a box: the boxes are the shapes in groups that have a kind."""
    boxes = [area for area in page.areas if any(kind.startswith("kind-") for kind in area.kinds)]
    for way in page.ways:
        if any(kind.startswith("kind-") or kind == "legend" for kind in way.kinds):
            continue
        for area in boxes:
            core = area.box.shrunk(4)
            if core.right <= core.left or core.bottom <= core.top:
                continue
            if any(core.has(point) and (len(area.points) == 4 or area.has(point)) for point in way.points):
                yield f"an arrow runs through a box of {area.kinds[-1]}"


def _covered(page: Page) -> Iterator[str]:
    """No words on pixels, no pixels on others or over the edge of the page."""
    inner = Box(EDGE, EDGE, page.width - EDGE, page.height - EDGE)
    for image in page.images:
        if not inner.holds(image):
            yield "pixels touch the edge of the page"
        for words in page.words:
            if words.box.shrunk(1).meets(image):
                yield f"`{words.text}` lies on pixels"
    for one, two in combinations(page.images, 2):
        if one.shrunk(0.5).meets(two.shrunk(0.5)):
            yield "two areas of pixels overlap"


def _pale(page: Page) -> Iterator[str]:
    for words in page.words:
        middle = ((words.box.left + words.box.right) / 2, (words.box.top + words.box.bottom) / 2)
        below = [area for area in page.areas if area.fill != "none" and area.order <= words.order and area.has(middle)]
        ground = below[-1].fill if below else page.colour
        if contrast(words.colour, ground) < TEXT_CONTRAST:
            yield f"`{words.text}` has a contrast of {contrast(words.colour, ground):.1f}"
    for way in page.ways:
        if contrast(way.stroke, page.colour) < LINE_CONTRAST:
            yield f"a line of {way.stroke} is pale"
    for area in page.areas:
        if area.stroke and contrast(area.stroke, page.colour) < LINE_CONTRAST:
            yield f"a border of {area.stroke} is pale"


def _empty(page: Page) -> Iterator[str]:
    """The figure, which is what is not in the heading, has most of the width, or of the height that it may have."""
    heading = [words for words in page.words if "legend" in words.kinds or "heading" in words.kinds]
    top = max((words.box.bottom for words in heading), default=0.0)
    corners = [point for area in page.areas if "legend" not in area.kinds for point in area.points]
    corners += [corner for box in page.images for corner in ((box.left, box.top), (box.right, box.bottom))]
    corners += [point for way in page.ways if "legend" not in way.kinds for point in way.points]
    corners += [
        corner
        for words in page.words
        if words not in heading
        for corner in ((words.box.left, words.box.top), (words.box.right, words.box.bottom))
    ]
    xs, ys = zip(*corners, strict=True)
    wide, high = (max(xs) - min(xs)) / page.width, (max(ys) - min(ys)) / (page.height - top)
    if max(wide, high) < FILLED:
        yield f"the figure fills {wide:.0%} of the width and {high:.0%} of the height"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (WCAG 2.1, relative luminance)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
