"""The picture of a network that branches: every box, frame and arrow at a place of our own (`layout=nop2`)."""

from __future__ import annotations

from collections.abc import Iterator

from archc.cost.table import cells_wide
from archc.diagram.boxes import tooltip
from archc.diagram.cards import Cards
from archc.diagram.heading import settings
from archc.diagram.limits import MOST_ARROWS, DiagramLimit
from archc.diagram.markup import attributes, clean, html, quoted
from archc.diagram.measure import WIDE_DIGIT, Look, gridded, measured, tag_width, title_width
from archc.diagram.palette import LINE, PAINTS
from archc.diagram.parts import Box, Cluster, End, Part
from archc.diagram.place import END_HEIGHT, FRAME_SIZE, FRAME_TITLE
from archc.diagram.plan import Plan
from archc.diagram.route import spline
from archc.diagram.rows import SLIDE, TITLE_HEIGHT, TITLE_WIDTH
from archc.diagram.settle import Sheet, Spot, settled
from archc.diagram.wires import ENTRY, Drawn, Key, Level, Link, Wire, level, wires
from archc.ir import Graph, Shape, people

ROOMS = (700, 900, 1100, 1300, 1500, 1700, 2000, 2400, 2800, 3400, 4200)
"""Widths to try, in points; the one that can be shown largest on a slide is taken."""
CROSSING = (1, 2, 4, 8)
"""How many values may go on from one row to the next: few are easier to follow."""
MANY = 400
"""Arrows from which on a picture is large."""
CLUMSY = 0.93
"""What a picture must gain to be worth twice as many values between its rows."""

END_SIZE = 16

LEGEND = {
    "skip": "thick: skip",
    "projection": "dotted: projected skip",
}

Ids = dict[int, str]


def dot(graph: Graph, parts: tuple[Part, ...], boxes: list[Box]) -> str:
    """The DOT text of a network that branches."""
    cards = Cards(graph)
    begin = End("input")
    ends = [End(name) for name, _ in graph.outputs]
    makers: dict[int, Drawn] = {id(graph.input): begin}
    owners: dict[str, Box] = {}
    _trace(parts, parts, makers, owners)
    arrows = wires(graph, boxes, makers, owners, ends)
    if len(arrows) > MOST_ARROWS:
        raise DiagramLimit("arrows", len(arrows), MOST_ARROWS)
    top = level((begin, *parts, *ends), arrows)
    sizes = {id(begin): _room(begin, graph.input.shape)}
    sizes |= {id(end): _room(end, value.shape) for end, (_, value) in zip(ends, graph.outputs, strict=True)}
    look = Look(
        sizes | {id(box): cards.size(box) for box in boxes},
        dict(_titles(parts, "", cards)),
        _tags(arrows, {id(box): box.nodes[0].x for box in boxes}),
    )
    sheet = settled(_largest(top, look, large=len(arrows) > MANY), look.tags)
    ids = {id(begin): "input"} | {id(box): f"box{at}" for at, box in enumerate(boxes, 1)}
    ids |= {id(end): f"output{at}" if len(ends) > 1 else "output" for at, end in enumerate(ends, 1)}
    kinds = {wire.kind for wire in arrows}
    said = tuple(words for kind, words in LEGEND.items() if kind in kinds)
    lines = [
        f"digraph {quoted(clean(graph.name))} {{",
        *settings(graph, boxes, layout="nop2", splines="true", said=said),
        _end(begin, graph.input.shape, ids, sheet),
        *_frames(parts, ids, sheet, cards, look, "cluster", "  "),
        *(_end(end, value.shape, ids, sheet) for end, (_, value) in zip(ends, graph.outputs, strict=True)),
        *_arrows(top, arrows, ids, sheet),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _largest(top: Level, look: Look, *, large: bool) -> Plan:
    """The plan that can be shown largest on a slide of 16:9; a `large` one fits on none, and few are tried."""
    grids = gridded(top)
    best, most = None, 0.0
    for clumsiness, crossing in enumerate(CROSSING):
        for room in ROOMS[2::4] if large else ROOMS:
            plan = measured(top, grids, room, crossing, look)
            scale = min(SLIDE[0] / max(plan.width, TITLE_WIDTH), SLIDE[1] / (plan.height + TITLE_HEIGHT))
            scale *= CLUMSY**clumsiness
            if best is None or scale > most * 1.001:
                best, most = plan, scale
    assert best is not None
    return best


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
            name = " … ".join(end.removeprefix(f"{outer}.") for end in part.label.split(" … "))
            said = cards.title(part.scope)
            times = f" ×{part.times}" if part.times > 1 else ""
            yield id(part), f"{clean(name)}{times}{': ' if said and name else ''}{said}".strip()
            yield from _titles(part.parts, part.scope.path if part.scope else outer, cards)


def _tags(arrows: list[Wire], arriving: dict[int, Shape]) -> dict[Key, str]:
    """The shapes to write: those that the box before the arrow changed."""
    return {
        wire.key: people(wire.shape)
        for wire in arrows
        if wire.kind != "switches" and arriving.get(id(wire.source), wire.shape) != wire.shape
    }


# Boxes and frames --------------------------------------------------------------------------------


def _frames(
    parts: tuple[Part, ...], ids: Ids, sheet: Sheet, cards: Cards, look: Look, path: str, indent: str
) -> list[str]:
    """The boxes, inside the frames of their groups."""
    lines = []
    for at, part in enumerate(parts):
        match part:
            case Box():
                lines.append(f"{indent}{_box(part, ids[id(part)], sheet, cards)}")
            case Cluster():
                inner = f"{path}_{at}"
                lines += [
                    f"{indent}subgraph {inner} {{",
                    f"{indent}  graph {_frame(part, look.titles[id(part)], sheet)};",
                    *_frames(part.parts, ids, sheet, cards, look, inner, indent + "  "),
                    f"{indent}}}",
                ]
    return lines


def _box(box: Box, name: str, sheet: Sheet, cards: Cards) -> str:
    look = attributes(
        label=cards.label(box),
        tooltip=quoted(tooltip(box)),
        pos=_middle(id(box), sheet),
        **{"id": quoted(name), "class": cards.kind(box)},
    )
    return f"{name} {look};"


def _middle(key: int, sheet: Sheet) -> str:
    place = sheet.boxes[key]
    return f'"{(place.left + place.right) / 2:.1f},{sheet.height - (place.top + place.bottom) / 2:.1f}"'


def _frame(cluster: Cluster, words: str, sheet: Sheet) -> str:
    place = sheet.frames[id(cluster)]
    middle = place.left + 10 + title_width(words) / 2
    head = cluster.scope is not None and cluster.scope.kind == "head"
    return attributes(
        label=_at_left(words, title_width(words)) if words else quoted(""),
        tooltip=quoted(words),
        bb=f'"{place.left:.1f},{sheet.height - place.bottom:.1f},{place.right:.1f},{sheet.height - place.top:.1f}"',
        lp=f'"{middle:.1f},{sheet.height - place.top - FRAME_TITLE / 2 - 2:.1f}"',
        fontsize=f'"{FRAME_SIZE}"',
        color=quoted(LINE if cluster.times > 1 or head else "#999999"),
        penwidth='"2"' if cluster.times > 1 else '"1"',
        style=quoted("rounded" if cluster.times > 1 else "rounded,dashed"),
    )


def _room(end: End, shape: Shape) -> tuple[float, float]:
    """The size of an end of the network, in points."""
    longest = max(cells_wide(clean(end.word)), cells_wide(people(shape)))
    return round(longest * END_SIZE * WIDE_DIGIT) + 12, END_HEIGHT


def _end(end: End, shape: Shape, ids: Ids, sheet: Sheet) -> str:
    place = sheet.boxes[id(end)]
    words = f'<FONT POINT-SIZE="{END_SIZE}">{html(clean(end.word))}<BR/><B>{people(shape)}</B></FONT>'
    cell = f'<TD WIDTH="{place.right - place.left:.0f}" HEIGHT="{END_HEIGHT}">{words}</TD>'
    look = attributes(
        label=f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cell}</TR></TABLE>>',
        tooltip=quoted(f"{clean(end.word)}: {people(shape)}"),
        pos=_middle(id(end), sheet),
    )
    return f"  {ids[id(end)]} {look};"


# Arrows ------------------------------------------------------------------------------------------


def _arrows(top: Level, arrows: list[Wire], ids: Ids, sheet: Sheet) -> list[str]:
    ancestry: dict[int, list[tuple[Level, int]]] = {}
    _locate(top, [], ancestry)
    lines = []
    tagged: set[Key] = set()
    drawn: dict[Key, list[list[Spot]]] = {}
    for wire in sorted(arrows, key=lambda wire: wire.kind in ("skip", "projection")):
        way = _whole(wire, ancestry, sheet)
        look = {"pos": quoted(spline(_forked(way, drawn.setdefault(wire.key, [])), sheet.height))}
        if wire.key in sheet.tags and wire.key not in tagged:
            tagged.add(wire.key)
            tag = sheet.tags[wire.key]
            look |= {
                "label": _at_left(tag.words, tag_width(tag.words)),
                "lp": f'"{tag.middle[0]:.1f},{sheet.height - tag.middle[1]:.1f}"',
            }
        look |= _style(wire)
        lines.append(f"  {ids[id(wire.source)]} -> {ids[id(wire.target)]} {attributes(**look)};")
    return lines


def _forked(way: list[Spot], earlier: list[list[Spot]]) -> list[Spot]:
    """The way from where it leaves those of the same value: what they share is drawn once."""
    shared = 0
    for other in earlier:
        same = next((at for at, (one, two) in enumerate(zip(way, other, strict=False)) if one != two), 0)
        shared = max(shared, same)
    earlier.append(way)
    return way[max(shared - 1, 0) :]


def _at_left(words: str, width: float) -> str:
    """A label in a cell as wide as its place, so that it begins where it should in any font."""
    cell = f'<TD WIDTH="{width:.0f}" ALIGN="LEFT">{html(words)}</TD>'
    return f'<<TABLE BORDER="0" CELLSPACING="0" CELLPADDING="0"><TR>{cell}</TR></TABLE>>'


def _style(wire: Wire) -> dict[str, str]:
    words = "switches" if wire.kind == "switches" else people(wire.shape)
    look = {"tooltip": quoted(words), "labeltooltip": quoted(words)}
    match wire.kind:
        case "switches":
            return look | {"style": "dashed", "color": quoted(PAINTS["pool"].border)}
        case "projection":
            return look | {"style": "dotted", "penwidth": '"2.5"'}
        case "skip":
            return look | {"penwidth": '"2.5"'}
    return look


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
