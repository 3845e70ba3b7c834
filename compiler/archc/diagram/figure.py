"""A network as a figure: boxes, frames and arrows at their places, whatever then draws them.

One layout serves every format. Lengths are those of a page on which words are as small as they may be,
so a figure that is drawn at a scale of 1 or more can be read on a slide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt

from archc.diagram.cards import LAYER, Cards, Words
from archc.diagram.fold import folded, foldings
from archc.diagram.grid import Grid
from archc.diagram.heading import heading
from archc.diagram.items import branches, without_identities
from archc.diagram.limits import MOST_ARROWS, MOST_BOXES, DiagramLimit
from archc.diagram.markup import clean
from archc.diagram.measure import TAG_SIZE, Look, flowing, gridded, measured, spread
from archc.diagram.parts import Box, Cluster, End, Part, boxes_of
from archc.diagram.plan import Plan
from archc.diagram.route import curve
from archc.diagram.settle import Point, Sheet, Spot, Tag, settled
from archc.diagram.slide import LARGEST, PAGE, Heading, room
from archc.diagram.theme import LIGHT
from archc.diagram.wires import ENTRY, Drawn, Key, Level, Link, Wire, level, wires
from archc.ir import Graph, Shape, people

ROOMS = tuple(1.07**step for step in range(-8, 20))
"""Widths to try, as parts of one at which boxes alone have the page's proportions; the best is taken."""
AROUND = 60.0
"""How much of the way to the next box belongs to each."""
CROSSING = (1, 2, 4, 8)
"""How many values may go on from one row to the next: few are easier to follow."""
MANY = 400
"""Arrows from which on a figure is large, and few widths are tried."""
CLUMSY = 0.93
"""What a figure must gain to be worth twice as many values between its rows."""
HOPELESS = 0.6
"""Scale below which not even compact boxes can be read."""
LEGIBLE, LARGE = 1.0, 1.8
"""Scales from which on a figure can be read on a slide, and from which on fewer rows are better than larger words."""


@dataclass(frozen=True, eq=False, slots=True)
class Arrow:
    """An arrow: the curves of its line, its tip, and the shape that stands beside it."""

    wire: Wire
    points: tuple[Point, ...]
    tip: Point
    tag: Tag | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """A finished layout."""

    graph: Graph
    parts: tuple[Part, ...]
    boxes: tuple[Box, ...]
    ends: tuple[tuple[End, Shape], ...]
    """The input, then the outputs."""
    cards: Cards
    titles: dict[int, str]
    """The title of each frame, by its `id`."""
    sheet: Sheet
    arrows: tuple[Arrow, ...]
    scale: float
    """How much larger it is drawn on the page that it was laid out for."""

    @property
    def lines(self) -> set[str]:
        """The kinds of arrows that it has."""
        return {arrow.wire.kind for arrow in self.arrows if arrow.wire.fate != "removed"}


Headed = Callable[[list[Box], set[str]], Heading]
"""The heading of a figure of these boxes and kinds of arrows."""


def figure(graph: Graph, depth: int | None = None, size: tuple[int, int] = PAGE) -> Figure:
    """The figure of a network on a page of this size; raises DiagramLimit where it would be too large.

    Blocks, groups and heads at `depth` are one box each; without a depth, as many are opened as can be read.
    """
    drawn = without_identities(graph) if branches(graph) else graph
    headed = partial(heading, graph, theme=LIGHT)
    choices = list(foldings(drawn)) if depth is None else [folded(drawn, depth)]
    found = largest(lay_out(drawn, parts, Cards(drawn), headed, size) for parts in choices)
    if not HOPELESS < found.scale < LEGIBLE:
        return found
    compact = Cards(drawn, compact=True)
    return largest(iter((found, *(lay_out(drawn, parts, compact, headed, size) for parts in choices))))


def largest(figures: Iterator[Figure]) -> Figure:
    """The first figure that can be read, or else the largest."""
    best: Figure | None = None
    for one in figures:
        if best is None or one.scale > best.scale:
            best = one
        if best.scale >= LEGIBLE:
            break
    assert best is not None
    return best


def lay_out(
    graph: Graph,
    parts: tuple[Part, ...],
    cards: Cards,
    headed: Headed,
    size: tuple[int, int],
    fates: Mapping[tuple[int, str], str] | None = None,
) -> Figure:
    """The figure of a network that is folded into these parts.

    `fates` says what became of the way from a value, by its `id`, to a layer, by its name.
    """
    boxes = boxes_of(parts)
    if len(boxes) > MOST_BOXES:
        raise DiagramLimit("boxes", len(boxes), MOST_BOXES)
    ends = [(End("input"), graph.input.shape), *((End(name), value.shape) for name, value in graph.outputs)]
    makers: dict[int, Drawn] = {id(graph.input): ends[0][0]}
    owners: dict[str, Box] = {}
    _trace(parts, parts, makers, owners)
    arrows = wires(graph, boxes, makers, owners, [end for end, _ in ends[1:]], fates or {})
    if len(arrows) > MOST_ARROWS:
        raise DiagramLimit("arrows", len(arrows), MOST_ARROWS)
    top = level((ends[0][0], *parts, *(end for end, _ in ends[1:])), arrows)
    look = Look(
        {id(end): _end_size(end, shape) for end, shape in ends} | {id(box): cards.card(box).size for box in boxes},
        dict(_titles(parts, "", cards)),
        _tags(arrows, {id(box): box.nodes[0].x for box in boxes}),
    )
    page = room(headed(boxes, {wire.kind for wire in arrows if wire.fate != "removed"}), LIGHT, size)
    plan, scale = _largest(top, look, page, large=len(arrows) > MANY)
    sheet = settled(plan, look.tags)
    ways = tuple(_arrows(top, arrows, sheet))
    return Figure(graph, parts, tuple(boxes), tuple(ends), cards, look.titles, sheet, ways, scale)


def _largest(top: Level, look: Look, page: tuple[float, float], *, large: bool) -> tuple[Plan, float]:
    """The plan that comes out largest on the page, and its scale; of a `large` network few are tried."""
    grids = gridded(top)
    most_flowing = max(_most_flowing(top, grids))
    known = [crossing for at, crossing in enumerate(CROSSING) if at == 0 or CROSSING[at - 1] < most_flowing]
    crossings = known[-1:] if large else known
    area = sum((wide + AROUND) * (high + AROUND) for wide, high in look.sizes.values())
    fitting = sqrt(area * page[0] / page[1])

    def tried(clumsiness: int, width: int) -> _Trial:
        plan = measured(top, grids, ROOMS[width] * fitting, crossings[clumsiness], look)
        scale = min(page[0] / plan.width, page[1] / plan.height)
        felt = min(scale, max(scale * CLUMSY**clumsiness, LEGIBLE))
        return _Trial((round(min(felt, LARGE), 2), -len(plan.rows), felt), clumsiness, width, plan, scale)

    step = 9 if large else 2
    best = max((tried(at, width) for at in range(len(crossings)) for width in range(0, len(ROOMS), step)), key=_worth)
    if not large:
        near = range(max(best.width - 1, 0), min(best.width + 2, len(ROOMS)))
        best = max((best, *(tried(best.clumsiness, width) for width in near)), key=_worth)
    spread(best.plan, page[0] / min(best.scale, LARGEST))
    return best.plan, best.scale


@dataclass(frozen=True, eq=False, slots=True)
class _Trial:
    """A plan that was tried, and what it is worth."""

    worth: tuple[float, int, float]
    clumsiness: int
    width: int
    plan: Plan
    scale: float


def _worth(trial: _Trial) -> tuple[float, int, float]:
    return trial.worth


def _most_flowing(one: Level, grids: dict[int, Grid]) -> Iterator[int]:
    """The most values that go on anywhere within each frame."""
    yield max(flowing(one, grids[id(one)]))
    for inner in one.inner.values():
        yield from _most_flowing(inner, grids)


def _trace(drawn: tuple[Part, ...], actual: tuple[Part, ...], makers: dict[int, Drawn], owners: dict[str, Box]) -> None:
    """Which drawn box every value and every layer belongs to, those of folded turns included."""
    for shown, part in zip(drawn, actual, strict=True):
        match shown, part:
            case Box(), Box():
                for node in (node for turn in part.turns for node in turn):
                    makers[id(node.output)] = owners[node.name] = shown
            case Cluster(), Cluster():
                for turn in (part.parts, *part.hidden):
                    _trace(shown.parts, turn, makers, owners)


def _titles(parts: tuple[Part, ...], outer: str, cards: Cards) -> Iterator[tuple[int, str]]:
    """`1 … 3 ×3: basic(64)` for each frame, without the names of the frames around it, by the `id` of the frame."""
    for part in parts:
        if isinstance(part, Cluster):
            ends = (end.removeprefix(f"{outer}.") for end in part.label.split(" … "))
            name = clean(" … ".join(map(cards.label, ends)))
            said = cards.title(part.scope)
            times = f" ×{part.times}" if part.times > 1 else ""
            yield id(part), cards.sign(part) + f"{name}{times}{': ' if said and name else ''}{said}".strip()
            yield from _titles(part.parts, part.scope.path if part.scope else outer, cards)


def _tags(arrows: list[Wire], arriving: dict[int, Shape]) -> dict[Key, str]:
    """The shapes to write: those that the box before the arrow changed."""
    return {
        wire.key: people(wire.shape)
        for wire in arrows
        if wire.kind != "switches" and arriving.get(id(wire.source), wire.shape) != wire.shape
    }


def end_words(end: End, shape: Shape) -> tuple[Words, Words]:
    """What stands at an end of the network."""
    return Words(clean(end.word), LAYER), Words(people(shape), TAG_SIZE)


def _end_size(end: End, shape: Shape) -> tuple[float, float]:
    return float(round(max(line.width for line in end_words(end, shape)) + 10.5)), 56.0


# Arrows ------------------------------------------------------------------------------------------


def _arrows(top: Level, found: list[Wire], sheet: Sheet) -> Iterator[Arrow]:
    ancestry: dict[int, list[tuple[Level, int]]] = {}
    _locate(top, [], ancestry)
    tagged: set[Key] = set()
    drawn: dict[Key, list[list[Spot]]] = {}
    for wire in sorted(found, key=lambda wire: (wire.fate != "same", wire.kind in ("skip", "projection"))):
        way = _whole(wire, ancestry, sheet)
        points, tip = curve(_forked(way, drawn.setdefault(wire.key, [])))
        tag = None if wire.key in tagged else sheet.tags.get(wire.key)
        tagged.add(wire.key)
        yield Arrow(wire, points, tip, tag)


def _forked(way: list[Spot], earlier: list[list[Spot]]) -> list[Spot]:
    """The way from where it leaves those of the same value: what they share is drawn once."""
    shared = 0
    for other in earlier:
        same = next((at for at, (one, two) in enumerate(zip(way, other, strict=False)) if one != two), 0)
        shared = max(shared, same)
    earlier.append(way)
    return way[max(shared - 1, 0) :]


def _locate(one: Level, outer: list[tuple[Level, int]], ancestry: dict[int, list[tuple[Level, int]]]) -> None:
    """The levels around each box, the outermost first, with the number of the part that holds it."""
    for at, part in enumerate(one.parts):
        here = [*outer, (one, at)]
        if at in one.inner:
            _locate(one.inner[at], here, ancestry)
        else:
            ancestry[id(part)] = here


def _whole(wire: Wire, ancestry: dict[int, list[tuple[Level, int]]], sheet: Sheet) -> list[Spot]:
    """The way of an arrow: out of the frames around its source, along, and into those around its target."""
    source, target = ancestry[id(wire.source)], ancestry[id(wire.target)]
    common = 0
    while source[common][1] == target[common][1]:
        common += 1
    links = [(one, Link(wire.key, at, len(one.parts))) for one, at in reversed(source[common + 1 :])]
    links.append((source[common][0], Link(wire.key, source[common][1], target[common][1])))
    links += [(one, Link(wire.key, ENTRY, at)) for one, at in target[common + 1 :]]
    return [spot for one, link in links for spot in sheet.ways[id(one), link]]
